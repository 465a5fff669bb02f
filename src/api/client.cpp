#include "coppice/api/client.h"

#include "coppice/api/problem.h"
#include "coppice/api/sse.h"
#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "http_connection.h"

#include <algorithm>
#include <cerrno>
#include <thread>

namespace coppice::api {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kPause{200};     // before a broken connection is tried again
constexpr seconds kRestartPatience{30}; // how long a daemon may take to come back
constexpr seconds kLongPoll{20};
constexpr seconds kSilence{60}; // the server sends a heartbeat every 15 s

/// Repeating cannot do it twice.
bool is_repeatable(const Client::Call& call)
{
    return call.method == "GET" || call.method == "HEAD" || !call.idempotency_key.empty();
}

} // namespace

std::string default_socket(const std::string& root)
{
    std::string directory = root;
    while (directory.size() > 1 && directory.ends_with('/'))
        directory.pop_back();
    return directory == kDefaultRoot ? "/run/coppice/coppiced.sock" : directory + "/coppiced.sock";
}

std::string encode_segment(std::string_view text)
{
    constexpr std::string_view kDigits = "0123456789ABCDEF";
    std::string encoded;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
            c == '.' || c == '~')
            encoded += c;
        else
            encoded += cat('%', kDigits[byte >> 4U], kDigits[byte & 15U]);
    }
    return encoded;
}

bool is_unreachable(const Error& error) { return error.os_errno() == ENOENT || error.os_errno() == ECONNREFUSED; }

Error Client::unreachable(Error error) const
{
    const int number = error.os_errno();
    const std::string hint = is_unreachable(error) ? "start it with: systemctl start coppiced, or: coppiced"
                             : number == EACCES    ? "run it as root, for example with sudo"
                             : number == EAGAIN    ? "it has more connections than it can take; try again"
                                                   : "";
    error = std::move(error).with("cannot reach coppiced");
    return hint.empty() ? error : std::move(error).hint(hint);
}

Result<Client::Answer> Client::call_once(const Call& call) const
{
    const auto deadline = Clock::now() + call.timeout;
    auto connection = HttpConnection::open(socket_, deadline, is_interrupted_);
    if (!connection) return fail(unreachable(std::move(connection).error()));
    std::vector<HttpConnection::Header> headers{{"Accept", "application/json"}};
    if (!call.idempotency_key.empty()) headers.push_back({"Idempotency-Key", call.idempotency_key});
    if (!call.if_match.empty()) headers.push_back({"If-Match", call.if_match});
    TRY(connection->send(call.method, call.target, headers, call.body ? json_text(*call.body) : std::string{},
                         deadline));
    const auto answer = TRY(connection->receive(deadline));
    if (answer.status >= 400) return fail(error_of(answer.status, answer.body));
    Answer parsed{.status = answer.status, .body = {}, .etag = answer.etag};
    if (!answer.body.empty()) parsed.body = TRY_DOING("the answer of coppiced", parse_json(answer.body));
    return parsed;
}

Result<Client::Answer> Client::call(const Call& call) const
{
    for (int tries = 1;; ++tries) {
        auto answer = call_once(call);
        const bool broken = !answer && answer.error().kind() == ErrorKind::Gone;
        if (!broken || tries == 3 || !is_repeatable(call)) return answer;
        std::this_thread::sleep_for(kPause);
    }
}

Result<os::Fd> Client::open_link(const Call& call) const
{
    const auto deadline = Clock::now() + call.timeout;
    auto connection = HttpConnection::open(socket_, deadline, is_interrupted_);
    if (!connection) return fail(unreachable(std::move(connection).error()));
    TRY(connection->send(
        call.method, call.target,
        {{"Accept", "application/json"}, {"Connection", "Upgrade"}, {"Upgrade", std::string{kLinkProtocol}}},
        call.body ? json_text(*call.body) : std::string{}, deadline));
    const auto answer = TRY(connection->receive(deadline));
    if (answer.status >= 400) return fail(error_of(answer.status, answer.body));
    auto link = connection->take_descriptor();
    if (answer.status != 101 || !link.is_open()) return fail(ErrorKind::Corrupt, "coppiced handed no socket over");
    return link;
}

Result<> Client::download_once(const Call& call, const std::function<Result<>(std::string_view)>& take) const
{
    const auto deadline = Clock::now() + call.timeout;
    auto connection = HttpConnection::open(socket_, deadline, is_interrupted_);
    if (!connection) return fail(unreachable(std::move(connection).error()));
    TRY(connection->send(call.method, call.target, {{"Accept", "*/*"}}, "", deadline));
    const auto answer = TRY(connection->receive_stream(call.timeout, [&take](std::string_view piece) -> Result<bool> {
        TRY(take(piece));
        return true;
    }));
    if (answer.status != 200) return fail(error_of(answer.status, answer.body));
    if (!answer.is_complete) return fail(ErrorKind::Gone, "coppiced closed the connection before the end");
    return {};
}

Result<> Client::download(const Call& call, const std::function<Result<>(std::string_view)>& take) const
{
    bool has_begun = false;
    const auto take_noting = [&](std::string_view piece) {
        has_begun = true;
        return take(piece);
    };
    for (int tries = 1;; ++tries) {
        auto done = download_once(call, take_noting);
        const bool broken = !done && done.error().kind() == ErrorKind::Gone;
        if (!broken || has_begun || tries == 3) return done;
        std::this_thread::sleep_for(kPause);
    }
}

Result<Operation> Client::wait(const std::string& id, const std::function<void(const Operation&)>& show,
                               std::optional<milliseconds> patience) const
{
    const auto end = patience ? Clock::now() + *patience : Clock::time_point::max();
    auto back_by = Clock::time_point::max(); // while the daemon is away
    std::uint64_t version = 0;
    for (;;) {
        const auto left = std::chrono::duration_cast<seconds>(end - Clock::now());
        const auto poll = std::clamp<seconds>(left, seconds{1}, kLongPoll);
        auto answer = call(Call{
            .target = cat("/v1/operations/", encode_segment(id), "/wait?after=", version, "&timeout=", poll.count()),
            .body = {},
            .idempotency_key = {},
            .if_match = {},
            .timeout = poll + seconds{30}});
        if (!answer) {
            if (!is_unreachable(answer.error()) && answer.error().kind() != ErrorKind::Gone)
                return fail(std::move(answer).error());
            if (back_by == Clock::time_point::max()) back_by = Clock::now() + kRestartPatience;
            if (Clock::now() > std::min(back_by, end)) return fail(std::move(answer).error());
            std::this_thread::sleep_for(kPause);
            continue;
        }
        back_by = Clock::time_point::max();
        auto operation = TRY_DOING("the answer of coppiced", parse_operation(answer->body));
        if (show && operation.version > version) show(operation);
        version = operation.version;
        if (is_over(operation.state)) return operation;
        if (Clock::now() > end)
            return fail(ErrorKind::Unavailable, cat("operation ", id, " is not over within the time given"));
    }
}

Result<> Client::follow_once(std::uint64_t& after, const std::function<bool(const Event&)>& take, bool& going_on) const
{
    const auto deadline = Clock::now() + seconds{30};
    auto connection = HttpConnection::open(socket_, deadline, is_interrupted_);
    if (!connection) return fail(unreachable(std::move(connection).error()));
    std::vector<HttpConnection::Header> headers{{"Accept", "text/event-stream"}};
    if (after > 0) headers.push_back({"Last-Event-ID", cat(after)});
    TRY(connection->send("GET", "/v1/events", headers, "", deadline));
    EventStreamParser parser;
    const auto answer = TRY(connection->receive_stream(kSilence, [&](std::string_view piece) -> Result<bool> {
        TRY(parser.feed(piece));
        while (const auto message = parser.next()) {
            const auto document = TRY_DOING("an event of coppiced", parse_json(message->data));
            const auto event = TRY_DOING("an event of coppiced", parse_event(document));
            after = event.id;
            going_on = take(event);
            if (!going_on) return false;
        }
        return true;
    }));
    if (answer.status >= 400) return fail(error_of(answer.status, answer.body));
    return {};
}

Result<> Client::follow_events(std::uint64_t after, const std::function<bool(const Event&)>& take) const
{
    bool connected_before = false;
    auto last_heard = Clock::now();
    for (bool going_on = true; going_on;) {
        const auto before = after;
        const auto followed = follow_once(after, take, going_on);
        if (after != before || followed) {
            connected_before = true;
            last_heard = Clock::now();
        }
        if (followed) {
            if (going_on) std::this_thread::sleep_for(kPause);
            continue;
        }
        const auto& error = followed.error();
        const bool away = is_unreachable(error) || error.kind() == ErrorKind::Gone;
        if (!away || !connected_before || Clock::now() > last_heard + kRestartPatience) return fail(error);
        std::this_thread::sleep_for(kPause);
    }
    return {};
}

} // namespace coppice::api
