#include "http_connection.h"

#include "coppice/base/text.h"
#include "coppice/os/unix_socket.h"

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

namespace coppice::api {

namespace http = boost::beast::http;

namespace {

/// A body as text that grows with what has come: Beast's own string_body takes memory for all of Content-Length at
/// once.
struct GrowingBody {
    using value_type = std::string; // NOLINT(readability-identifier-naming): Beast's names, here and below
    class reader {                  // NOLINT(readability-identifier-naming)
    public:
        template <bool IsRequest, class Fields>
        reader(http::header<IsRequest, Fields>& /*header*/, value_type& body) : body_{body}
        {
        }
        void init(const boost::optional<std::uint64_t>& /*length*/, boost::system::error_code& failed) { failed = {}; }
        template <class Buffers> std::size_t put(const Buffers& buffers, boost::system::error_code& failed)
        {
            failed = {};
            std::size_t taken = 0;
            for (auto at = boost::asio::buffer_sequence_begin(buffers); at != boost::asio::buffer_sequence_end(buffers);
                 ++at) {
                const boost::asio::const_buffer piece{*at};
                body_.append(static_cast<const char*>(piece.data()), piece.size());
                taken += piece.size();
            }
            return taken;
        }
        void finish(boost::system::error_code& failed) { failed = {}; }

    private:
        value_type& body_;
    };
};

using Parser = http::response_parser<GrowingBody>;

constexpr std::size_t kReadBytes = 64U << 10;

Error closed() { return {ErrorKind::Gone, "coppiced closed the connection"}; }

/// Gives the parser what it takes of `bytes`; what it cannot use yet (half of a header, of a chunk's frame) stays.
Result<> parse(Parser& parser, std::string& bytes)
{
    std::string_view rest{bytes};
    while (!rest.empty() && !parser.is_done()) {
        boost::system::error_code failed;
        const auto used = parser.put(boost::asio::const_buffer{rest.data(), rest.size()}, failed);
        rest.remove_prefix(used);
        if (failed == http::error::need_more || (!failed && used == 0)) break;
        if (failed == http::error::body_limit) return fail(ErrorKind::Corrupt, "the answer of coppiced is too long");
        if (failed) return fail(ErrorKind::Corrupt, cat("the answer of coppiced is no HTTP: ", failed.message()));
    }
    bytes.erase(0, bytes.size() - rest.size());
    return {};
}

/// recv(2), with the descriptor that may come along.
ssize_t receive_into(const os::Fd& socket, std::string& buffer, os::Fd& descriptor)
{
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto got = ::recvmsg(socket.get(), &message, MSG_CMSG_CLOEXEC);
    if (got < 0) return got;
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        descriptor = os::Fd{fd};
    }
    return got;
}

HttpConnection::Answer answer_of(Parser& parser)
{
    auto& message = parser.get();
    return {.status = static_cast<int>(message.result_int()),
            .body = std::move(message.body()),
            .etag = std::string{message[http::field::etag]},
            .type = std::string{message[http::field::content_type]},
            .is_complete = parser.is_done()};
}

} // namespace

Result<> HttpConnection::check_interrupted() const
{
    if (is_interrupted_ && is_interrupted_()) return fail(ErrorKind::Unavailable, "interrupted");
    return {};
}

Result<> HttpConnection::wait_for(short events, Deadline deadline) const
{
    using std::chrono::milliseconds;
    constexpr milliseconds kSlice{200};
    for (;;) {
        TRY(check_interrupted());
        const auto left = std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left < milliseconds{0}) return fail(ErrorKind::Unavailable, "coppiced did not answer in time");
        pollfd waiting{.fd = socket_.get(), .events = events, .revents = 0};
        const auto slice = is_interrupted_ ? std::min(left, kSlice) : std::min(left, milliseconds{1 << 30});
        const int ready = ::poll(&waiting, 1, static_cast<int>(slice.count()) + 1);
        if (ready < 0 && errno != EINTR) return fail_os(errno, "wait for coppiced");
        if (ready > 0) return {};
    }
}

Result<HttpConnection> HttpConnection::open(const std::string& socket, Deadline deadline,
                                            std::function<bool()> is_interrupted)
{
    for (;;) {
        auto connected = os::connect_stream(socket, false);
        if (connected) return HttpConnection{*std::move(connected), std::move(is_interrupted)};
        // A full queue of a unix socket cannot be waited for by poll.
        const bool full = connected.error().os_errno() == EAGAIN;
        if (!full || std::chrono::steady_clock::now() > deadline) return fail(std::move(connected).error());
        std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
}

Result<> HttpConnection::send(std::string_view method, std::string_view target, const std::vector<Header>& headers,
                              std::string_view body, Deadline deadline)
{
    std::string text = cat(method, ' ', target, " HTTP/1.1\r\nHost: coppice\r\n");
    bool has_connection = false;
    for (const Header& header : headers) {
        text += cat(header.name, ": ", header.value, "\r\n");
        has_connection = has_connection || header.name == "Connection";
    }
    if (!has_connection) text += "Connection: close\r\n";
    if (!body.empty()) text += cat("Content-Type: application/json\r\nContent-Length: ", body.size(), "\r\n");
    text += "\r\n";
    text += body;
    for (std::string_view rest{text}; !rest.empty();) {
        const auto sent = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
        if (sent > 0) {
            rest.remove_prefix(static_cast<std::size_t>(sent));
        } else if (errno == EAGAIN) {
            TRY(wait_for(POLLOUT, deadline));
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return {}; // it answered without reading all, for example that this is too long: the answer says more
        } else if (errno != EINTR) {
            return fail_os(errno, "send to coppiced");
        }
    }
    return {};
}

Result<std::string_view> HttpConnection::read_some(Deadline deadline)
{
    buffer_.resize(kReadBytes);
    for (;;) {
        TRY(check_interrupted()); // a stream that never pauses never waits
        const auto got = receive_into(socket_, buffer_, descriptor_);
        if (got >= 0) return std::string_view{buffer_.data(), static_cast<std::size_t>(got)};
        if (errno == ECONNRESET) return fail(closed());
        if (errno == EAGAIN)
            TRY(wait_for(POLLIN, deadline));
        else if (errno != EINTR)
            return fail_os(errno, "read from coppiced");
    }
}

Result<HttpConnection::Answer> HttpConnection::receive(Deadline deadline)
{
    Parser parser;
    parser.body_limit(kMaxBody);
    parser.eager(true);
    std::string unparsed;
    while (!parser.is_done()) {
        const auto bytes = TRY(read_some(deadline));
        if (bytes.empty()) return fail(closed());
        unparsed += bytes;
        TRY(parse(parser, unparsed));
    }
    return answer_of(parser);
}

Result<HttpConnection::Answer> HttpConnection::receive_stream(std::chrono::milliseconds silence,
                                                              const std::function<Result<bool>(std::string_view)>& take)
{
    Parser parser;
    parser.body_limit(boost::none); // of all together; each message has a limit of its own
    parser.eager(true);
    std::string unparsed;
    while (!parser.is_done()) {
        const auto bytes = TRY(read_some(std::chrono::steady_clock::now() + silence));
        if (bytes.empty()) break;
        unparsed += bytes;
        TRY(parse(parser, unparsed));
        if (!parser.is_header_done() || parser.get().result_int() != 200) {
            if (parser.get().body().size() > kMaxBody)
                return fail(ErrorKind::Corrupt, "the answer of coppiced is too long");
            continue;
        }
        const std::string piece = std::exchange(parser.get().body(), {});
        if (!piece.empty() && !TRY(take(piece))) break;
    }
    return answer_of(parser);
}

} // namespace coppice::api
