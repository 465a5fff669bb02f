#pragma once

#include "coppice/api/event.h"
#include "coppice/api/operation.h"
#include "coppice/os/fd.h"

#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace coppice::api {

/// Where `coppiced` listens for a state root: /run/coppice/coppiced.sock for the default one, else ROOT/coppiced.sock.
std::string default_socket(const std::string& root);
/// Name of the protocol to which a connection is upgraded when the daemon hands a socket of its own to the client, as
/// SCM_RIGHTS with the first byte of its answer 101.
inline constexpr std::string_view kLinkProtocol = "coppice-link";
inline constexpr const char* kDefaultRoot = "/var/lib/coppice";

/// A path segment or query value, percent-encoded.
std::string encode_segment(std::string_view text);

/// Talks to `coppiced`. Blocks, each call with a deadline. Any thread, but for `heed`.
class Client {
public:
    explicit Client(std::string socket) : socket_{std::move(socket)} {}
    [[nodiscard]] const std::string& socket() const { return socket_; }
    /// From now on all calls ask, a few times a second, whether they shall end: then with Unavailable.
    void heed(std::function<bool()> is_interrupted) { is_interrupted_ = std::move(is_interrupted); }

    struct Call {
        std::string method = "GET";
        std::string target; ///< "/v1/vdisks?limit=10", percent-encoded
        std::optional<nlohmann::json> body = {};
        /// For calls that change something: whoever repeats a call with the same key gets the first one's answer. With
        /// one (and for GET) a call whose connection broke is repeated by itself.
        std::string idempotency_key = {};
        std::string if_match = {}; ///< an ETag
        std::chrono::milliseconds timeout{30'000};
    };
    struct Answer {
        int status = 0;
        nlohmann::json body; ///< null when there is none
        std::string etag;
    };
    /// The whole answer, of at most 64 MiB.
    /// Errors: those that the daemon answers with, and NotFound or Conflict (nobody listens), Denied (no right to
    /// connect), Unavailable (no answer in time), Gone (the daemon ended meanwhile), Corrupt (no HTTP)
    [[nodiscard]] Result<Answer> call(const Call& call) const;

    /// Hands over the body of the answer to a GET as it arrives, however long it is; memory stays below a MiB. An
    /// answer that ends early is an error, after whatever was handed over before.
    /// @param call its timeout is that of each silence, not of all together; it has no body and no key
    /// @param take its errors end the transfer and are returned as they are
    /// Errors: as `call`. A connection that breaks is tried again only while nothing has been handed over
    [[nodiscard]] Result<> download(const Call& call, const std::function<Result<>(std::string_view)>& take) const;

    /// A call that is answered with a socket (Upgrade: coppice-link). Never repeated. Errors: as `call`
    [[nodiscard]] Result<os::Fd> open_link(const Call& call) const;

    /// Waits for the end of an operation, also over a restart of the daemon. However it ended, that is no error here.
    /// @param show called with every new version; may be empty
    /// @param patience empty: for ever. Errors: Unavailable when it has run out, and as `call`
    [[nodiscard]] Result<Operation> wait(const std::string& id, const std::function<void(const Operation&)>& show,
                                         std::optional<std::chrono::milliseconds> patience = {}) const;

    /// Hands over events until `take` returns false. Reconnects when the daemon restarts and goes on where it was;
    /// what could not be told again is marked by an event "events.lost".
    /// @param after id of the last event known; 0 for only those from now on
    [[nodiscard]] Result<> follow_events(std::uint64_t after, const std::function<bool(const Event&)>& take) const;

private:
    [[nodiscard]] Result<Answer> call_once(const Call& call) const;
    [[nodiscard]] Result<> download_once(const Call& call, const std::function<Result<>(std::string_view)>& take) const;
    [[nodiscard]] Error unreachable(Error error) const;
    [[nodiscard]] Result<> follow_once(std::uint64_t& after, const std::function<bool(const Event&)>& take,
                                       bool& going_on) const;
    std::string socket_;
    std::function<bool()> is_interrupted_;
};

/// True for errors which say that nobody answers at the socket.
bool is_unreachable(const Error& error);

} // namespace coppice::api
