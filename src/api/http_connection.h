#pragma once

#include "coppice/os/fd.h"

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::api {

using Deadline = std::chrono::steady_clock::time_point;

/// The client's side of one HTTP/1.1 request over a unix socket. Blocks, never beyond the deadline.
/// Errors of all: Unavailable (the time ran out), Gone (the daemon closed the connection), Corrupt (no HTTP)
class HttpConnection {
public:
    struct Header {
        std::string name, value;
    };
    struct Answer {
        int status = 0;
        std::string body, etag, type;
        bool is_complete = true; ///< false when the daemon closed in the middle of it
    };
    /// Longest body that is taken, in bytes.
    static constexpr std::size_t kMaxBody = 64U << 20;

    /// @param is_interrupted asked a few times a second while something is waited for: then that ends with Unavailable.
    ///        May be empty. Errors: besides, those of os::connect_stream
    static Result<HttpConnection> open(const std::string& socket, Deadline deadline,
                                       std::function<bool()> is_interrupted = {});

    /// @param headers "Connection" among them, or it is "close"
    Result<> send(std::string_view method, std::string_view target, const std::vector<Header>& headers,
                  std::string_view body, Deadline deadline);
    /// The descriptor that came with what was received; not open when none did.
    [[nodiscard]] os::Fd take_descriptor() { return std::move(descriptor_); }
    /// The whole answer.
    Result<Answer> receive(Deadline deadline);
    /// An answer without an end: hands over each piece of the body until `take` returns false or the daemon closes.
    /// The body of an answer with another status than 200 comes back whole instead.
    /// @param silence longest time without a byte
    Result<Answer> receive_stream(std::chrono::milliseconds silence,
                                  const std::function<Result<bool>(std::string_view)>& take);

    HttpConnection(HttpConnection&&) noexcept = default;

private:
    HttpConnection(os::Fd socket, std::function<bool()> is_interrupted)
        : socket_{std::move(socket)}, is_interrupted_{std::move(is_interrupted)}
    {
    }
    [[nodiscard]] Result<> check_interrupted() const;
    [[nodiscard]] Result<> wait_for(short events, Deadline deadline) const;
    /// Empty at the end.
    Result<std::string_view> read_some(Deadline deadline);
    os::Fd socket_;
    std::function<bool()> is_interrupted_;
    std::string buffer_;
    os::Fd descriptor_;
};

} // namespace coppice::api
