#include "work.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "declare.h"
#include "progress.h"

#include <cstdio>

namespace coppice::cli {

namespace {

/// A dead daemon is noticed at once, so this is for the disk: a snapshot is durable when all dirty data is written.
constexpr std::chrono::minutes kDiskPatience{30};
constexpr int kAccepted = 202;

} // namespace

void add_work_options(CLI::App& app, WorkOptions& options, const char* quiet_help)
{
    app.add_flag("-q,--quiet", options.quiet, quiet_help);
    app.add_flag("--detach", options.detach, "Print the id of the operation and do not wait for it");
    take_word(app.add_option("--format", options.format, "Form of the result (default: text)"), "text|json");
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
    auto operation = TRY(client.wait(id, [&view](const api::Operation& now) { view.show(now); }, patience));
    view.end();
    if (operation.error)
        return fail(Error{*operation.error}.with(cat("operation ", id, ' ', api::word_of(operation.state))));
    return std::move(operation.result);
}

} // namespace coppice::cli
