#include "work.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "declare.h"
#include "interrupt.h"
#include "progress.h"

#include <csignal>
#include <cstdio>

namespace coppice::cli {

namespace {

constexpr int kAccepted = 202;

/// The first one says how to go on, the next one asks the daemon to stop it; its end is waited for in any case.
Result<> answer_interrupt(const api::Client& client, const std::string& id, int& heard)
{
    const bool is_first = heard == 0 && interruptions() == 1;
    heard = interruptions();
    if (is_first) {
        std::fprintf(stderr, "coppice: operation %s goes on; stop it with Ctrl-C, or: coppice operation cancel %s\n",
                     id.c_str(), id.c_str());
        return {};
    }
    const auto cancelled = change(client, "DELETE", cat("/v1/operations/", api::encode_segment(id)));
    if (cancelled || cancelled.error().kind() == ErrorKind::Conflict) return {}; // it was over already
    return fail(Error{cancelled.error()}.with(cat("cancel operation ", id)));
}

} // namespace

void add_work_options(CLI::App& app, WorkOptions& options, const char* quiet_help)
{
    app.add_flag("-q,--quiet", options.quiet, quiet_help);
    app.add_flag("--detach", options.detach, "Print the id of the operation and do not wait for it");
    take_format(app, options.format);
}

Result<nlohmann::json> ask(const api::Client& client, const std::string& target)
{
    auto answer = TRY(client.call({.target = target, .timeout = kDiskPatience}));
    return std::move(answer.body);
}

Result<std::string> ask_for_text(const api::Client& client, const std::string& target)
{
    constexpr std::size_t kMostBytes = 256U << 20;
    std::string text;
    TRY(client.download({.target = target, .timeout = kDiskPatience}, [&text](std::string_view piece) -> Result<> {
        if (text.size() + piece.size() > kMostBytes)
            return fail(ErrorKind::Corrupt, "the answer of coppiced is too long");
        text += piece;
        return {};
    }));
    return text;
}

Result<api::Client::Answer> change(const api::Client& client, const char* method, const std::string& target,
                                   std::optional<nlohmann::json> body)
{
    constexpr std::size_t kKeyDigits = 32;
    return client.call({.method = method,
                        .target = target,
                        .body = std::move(body),
                        .idempotency_key = random_hex(kKeyDigits),
                        .timeout = kDiskPatience});
}

Result<std::optional<nlohmann::json>> carry_out(const api::Client& client, const std::string& target,
                                                std::optional<nlohmann::json> body, const WorkOptions& options)
{
    auto answer = TRY(change(client, "POST", target, std::move(body)));
    if (answer.status != kAccepted) return std::optional{std::move(answer.body)};
    const auto operation = TRY_DOING("the answer of coppiced", api::parse_operation(answer.body));
    if (options.detach) {
        std::puts(operation.id.c_str());
        return std::optional<nlohmann::json>{};
    }
    return std::optional{TRY(wait_for_end(client, operation.id, options.quiet))};
}

Result<nlohmann::json> wait_for_end(const api::Client& client, const std::string& id, bool quiet,
                                    std::optional<std::chrono::milliseconds> patience)
{
    ProgressView view{quiet};
    heed(SIGINT);
    int heard = 0;
    api::Client waiting = client;
    waiting.heed([&heard] { return interruptions() > heard; });
    const auto begin = std::chrono::steady_clock::now();
    for (;;) {
        auto left = patience;
        if (left)
            *left -= std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
        auto operation = waiting.wait(id, [&view](const api::Operation& now) { view.show(now); }, left);
        view.end();
        if (!operation && interruptions() > heard) {
            TRY(answer_interrupt(client, id, heard));
            continue;
        }
        if (!operation) return fail(std::move(operation).error());
        if (!operation->error) return std::move(operation->result);
        return fail(Error{*operation->error}.with(cat("operation ", id, ' ', api::word_of(operation->state))));
    }
}

} // namespace coppice::cli
