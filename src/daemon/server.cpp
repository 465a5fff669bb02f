// The only file that knows Beast and Asio.

#include "coppice/daemon/server.h"

#include "coppice/api/client.h"
#include "coppice/base/json_text.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/daemon/worker_pool.h"
#include "coppice/os/unix_socket.h"

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <exception>
#include <fcntl.h>
#include <list>
#include <set>
#include <stop_token>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::daemon {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Local = asio::local::stream_protocol;
using Code = boost::system::error_code;
template <typename T = void> using Task = asio::awaitable<T>;

namespace {

constexpr auto kForEver = std::chrono::hours{24 * 365};

auto into(Code& code) { return asio::redirect_error(asio::use_awaitable, code); }

/// Wakes one coroutine from any thread.
class Bell : public std::enable_shared_from_this<Bell> {
public:
    explicit Bell(asio::io_context& io) : io_{io}, timer_{io} {}
    void ring()
    {
        asio::post(io_, [self = shared_from_this()] {
            self->rung_ = true;
            self->timer_.cancel();
        });
    }
    /// Until `ring`, also one that came before. False when the time ran out.
    Task<bool> wait(std::chrono::milliseconds patience)
    {
        if (!rung_) {
            timer_.expires_after(patience);
            Code code;
            co_await timer_.async_wait(into(code));
        }
        co_return std::exchange(rung_, false);
    }

private:
    asio::io_context& io_;
    asio::steady_timer timer_;
    bool rung_ = false; // only in the thread of `run`
};

/// One client. Its socket, its deadline, and what it waits for.
class Connection : public std::enable_shared_from_this<Connection> {
public:
    Connection(Local::socket from, Identity who) : socket{std::move(from)}, identity{who}, timer_{socket.get_executor()}
    {
    }

    /// What is read or written from now on is aborted after `time`. (Not Beast's own stream: it closes the socket when
    /// the time is over, and nothing could be answered.)
    void set_deadline(std::chrono::milliseconds time)
    {
        timed_out_ = false;
        watch(time, ++round_);
    }
    void clear_deadline()
    {
        ++round_;
        timed_out_ = false;
        timer_.cancel();
    }
    [[nodiscard]] bool is_timed_out() const { return timed_out_; }

    Local::socket socket;
    beast::flat_buffer buffer;
    Identity identity;
    bool is_reading = false;    ///< waits for a request or the rest of one
    std::stop_source stop;      ///< of the handler at work for it
    std::shared_ptr<Bell> bell; ///< of what it waits for without a thread; null when it does not

private:
    void watch(std::chrono::milliseconds time, std::uint64_t round)
    {
        timer_.expires_after(time);
        timer_.async_wait([weak = weak_from_this(), round](const Code& code) {
            const auto self = weak.lock();
            if (code || !self || self->round_ != round) return;
            self->timed_out_ = true;
            Code ignored; // nothing was under way
            self->socket.cancel(ignored);
            // What had just completed is not cancelled, and its next step would wait for ever.
            self->watch(std::chrono::milliseconds{50}, round);
        });
    }

    asio::steady_timer timer_;
    std::uint64_t round_ = 0;
    bool timed_out_ = false;
};

using Response = http::response<http::string_body>;

Response to_http(const Reply& reply, unsigned version, bool is_head, bool keep)
{
    Response response;
    response.version(version);
    response.result(static_cast<unsigned>(reply.status));
    response.set(http::field::server, "coppiced");
    for (const auto& [name, value] : reply.headers)
        response.set(name, value);
    if (!reply.etag.empty()) response.set(http::field::etag, reply.etag);
    response.keep_alive(keep);
    const bool has_body = !reply.raw.empty() || !reply.body.is_null();
    if (has_body && reply.status != 304) {
        response.set(http::field::content_type, reply.type);
        response.set("X-Content-Type-Options", "nosniff");
        response.body() = !reply.raw.empty() ? reply.raw : json_text(reply.body) + '\n';
    }
    response.set(http::field::cache_control, reply.etag.empty() ? "no-store" : "no-cache");
    if (reply.status != 204 && reply.status != 304) response.prepare_payload();
    if (is_head) response.body().clear(); // Content-Length stays what GET would say
    return response;
}

/// What a request that could not be read is answered with; 0 when there is nobody to answer.
int status_of(const Code& code, bool timed_out)
{
    if (timed_out) return 408;
    if (code == http::error::end_of_stream || code == http::error::partial_message) return 0;
    if (code == http::error::header_limit || code == http::error::buffer_overflow) return 431;
    if (code == http::error::body_limit) return 413;
    if (code == http::error::bad_version) return 505;
    return code.category() == http::make_error_code(http::error::bad_method).category() ? 400 : 0;
}

Reply unreadable(int status, const ServerLimits& limits)
{
    const auto say = [&]() -> Error {
        switch (status) {
        case 431:
            return {ErrorKind::Invalid, cat("the request's header is longer than ", limits.header_bytes, " bytes")};
        case 413: return {ErrorKind::Invalid, cat("the request's body is longer than ", limits.body_bytes, " bytes")};
        case 408: return {ErrorKind::Unavailable, "the request did not come in time"};
        case 505: return {ErrorKind::Unsupported, "only HTTP/1.0 and HTTP/1.1 are spoken here"};
        default: return {ErrorKind::Invalid, "this is no HTTP request"};
        }
    };
    return Reply::problem({status, say()});
}

Reply busy(std::string what)
{
    auto reply =
        Reply::problem(api::Problem{Error{ErrorKind::Unavailable, std::move(what)}.hint("try again in a moment")});
    reply.headers["Retry-After"] = "1";
    return reply;
}

Reply failed(const std::exception& error)
{
    log::error("server", "a request failed by a mistake of ours", {{"error", error.what()}});
    return Reply::problem({500, Error{ErrorKind::Os, cat("coppiced made a mistake: ", error.what())}.hint(
                                    "please report it, with what its log says")});
}

std::string text_of(beast::string_view text) { return {text.data(), text.size()}; }

} // namespace

class Server::Impl {
public:
    Impl(Dispatcher& dispatcher, ServerLimits limits)
        : dispatcher_{dispatcher}, limits_{limits}, pool_{std::make_unique<WorkerPool>(limits.workers, limits.queue)}
    {
    }

    Result<> listen(os::Fd socket)
    {
        Local::acceptor acceptor{io_};
        Code code;
        acceptor.assign(Local{}, socket.get(), code);
        if (code) return fail(ErrorKind::Os, cat("listen: ", code.message()));
        [[maybe_unused]] const int released = socket.release();
        acceptors_.push_back(std::move(acceptor));
        return {};
    }

    Result<> watch(const os::Fd& fd, std::function<void()> handler)
    {
        auto copy = TRY(fd.duplicate());
        watched_.emplace_back(io_, copy.release());
        asio::co_spawn(io_, observe(watched_.back(), std::move(handler)), asio::detached);
        return {};
    }

    Result<> run(std::chrono::milliseconds patience)
    {
        patience_ = patience;
        for (auto& acceptor : acceptors_)
            asio::co_spawn(io_, accept(acceptor), asio::detached);
        try { // Asio speaks in exceptions; this is the outermost frame
            io_.run();
        } catch (const boost::system::system_error& error) {
            return fail(ErrorKind::Os, cat("the server failed: ", error.what()));
        }
        return {};
    }

    void end_handlers()
    {
        for (const auto& connection : connections_)
            connection->stop.request_stop();
        pool_.reset();
    }

    void stop()
    {
        asio::post(io_, [this] { begin_stop(); });
    }

private:
    Task<> observe(asio::posix::stream_descriptor& descriptor, std::function<void()> handler)
    {
        for (;;) {
            Code code;
            co_await descriptor.async_wait(asio::posix::stream_descriptor::wait_read, into(code));
            if (code) co_return;
            handler();
        }
    }

    void begin_stop()
    {
        if (stopping_) return;
        stopping_ = true;
        for (auto& acceptor : acceptors_) {
            Code ignored; // it is only to be closed
            acceptor.close(ignored);
        }
        for (const auto& connection : connections_) {
            Code ignored; // it may be between two steps, and sees `stopping_` at the next
            if (connection->is_reading) connection->socket.cancel(ignored);
            if (connection->bell) connection->bell->ring();
        }
        end_.expires_after(patience_);
        end_.async_wait([this](const Code& code) {
            if (code) return;
            log::warn("server", "requests were still running", {{"connections", cat(connections_.size())}});
            io_.stop();
        });
        end_if_empty();
    }

    /// Nothing is left that the loop would wait for: it ends by itself.
    void end_if_empty()
    {
        if (!stopping_ || !connections_.empty()) return;
        end_.cancel();
        for (auto& descriptor : watched_)
            descriptor.cancel();
    }

    Task<> accept(Local::acceptor& acceptor)
    {
        asio::steady_timer pause{io_};
        while (!stopping_) {
            Code code;
            auto socket = co_await acceptor.async_accept(into(code));
            if (code == asio::error::operation_aborted || stopping_) co_return;
            if (code) { // no descriptors left, for example
                log::warn("server", "a connection could not be accepted", {{"error", code.message()}});
                pause.expires_after(std::chrono::milliseconds{100});
                co_await pause.async_wait(into(code));
                continue;
            }
            const auto peer = os::peer_of(socket.native_handle());
            if (!peer) {
                log::warn("server", "a connection without credentials", {{"error", peer.error().line()}});
                continue;
            }
            auto connection =
                std::make_shared<Connection>(std::move(socket), Identity{.uid = peer->uid, .pid = peer->pid});
            const bool room = connections_.size() < limits_.connections;
            if (!room && connections_.size() >= 2 * limits_.connections) continue; // not even for saying so
            connections_.insert(connection);
            asio::co_spawn(io_, room ? serve(connection) : turn_away(connection), asio::detached);
        }
    }

    Task<> turn_away(std::shared_ptr<Connection> connection)
    {
        const Reply refusal = busy(cat("coppiced has ", limits_.connections, " connections already"));
        co_await write(*connection, refusal, 11, false, false);
        co_await drain(*connection);
        close(connection);
    }

    void close(const std::shared_ptr<Connection>& connection)
    {
        Code ignored; // the peer may have closed it before
        connection->socket.shutdown(Local::socket::shutdown_both, ignored);
        connection->clear_deadline();
        connection->socket.close(ignored);
        connections_.erase(connection);
        end_if_empty();
    }

    Task<> serve(std::shared_ptr<Connection> connection)
    {
        while (!stopping_) {
            const bool keep = co_await serve_one(connection);
            if (!keep) break;
        }
        close(connection);
    }

    /// Waits for the first byte of a request. False when there is none to come.
    Task<bool> wait_for_request(Connection& connection)
    {
        if (connection.buffer.size() > 0) co_return true;
        connection.set_deadline(limits_.idle);
        Code code;
        const auto got = co_await connection.socket.async_read_some(connection.buffer.prepare(4096), into(code));
        connection.buffer.commit(got);
        co_return !code && got > 0;
    }

    /// Reads a request, answers it; whether another one may follow.
    Task<bool> serve_one(std::shared_ptr<Connection> connection)
    {
        connection->is_reading = true;
        const bool more = co_await wait_for_request(*connection);
        if (!more) co_return false;
        http::request_parser<http::string_body> parser;
        parser.header_limit(limits_.header_bytes);
        parser.body_limit(limits_.body_bytes);
        Code code;
        connection->set_deadline(limits_.header_time);
        co_await http::async_read_header(connection->socket, connection->buffer, parser, into(code));
        if (!code && beast::iequals(parser.get()[http::field::expect], "100-continue")) {
            constexpr std::string_view kGoOn = "HTTP/1.1 100 Continue\r\n\r\n";
            co_await asio::async_write(connection->socket, asio::buffer(kGoOn), into(code));
        }
        if (!code) {
            connection->set_deadline(limits_.body_time);
            co_await http::async_read(connection->socket, connection->buffer, parser, into(code));
        }
        connection->is_reading = false;
        if (code) {
            const int status = status_of(code, connection->is_timed_out());
            if (status == 0) co_return false;
            const Reply refusal = unreadable(status, limits_);
            co_await write(*connection, refusal, 11, false, false);
            co_await drain(*connection);
            co_return false;
        }
        const auto message = parser.release();
        connection->clear_deadline();
        auto reply = co_await answer(connection, message);
        if (reply.stream) {
            co_await send_stream(*connection, reply, message.method() == http::verb::head);
            co_return false;
        }
        if (reply.link) {
            hand_over(*connection, reply);
            co_return false;
        }
        if (reply.file) {
            co_await send_file(*connection, reply, message.method() == http::verb::head);
            co_return false;
        }
        const bool keep = message.keep_alive() && !stopping_;
        const bool written =
            co_await write(*connection, reply, message.version(), message.method() == http::verb::head, keep);
        co_return written;
    }

    /// Before closing on a client that is still sending: what it has sent unread would make the kernel reset the
    /// connection, and our answer with it.
    Task<> drain(Connection& connection)
    {
        Code code;
        connection.socket.shutdown(Local::socket::shutdown_send, code);
        connection.set_deadline(std::chrono::seconds{2});
        for (std::size_t total = 0; !code && total < (8U << 20);) {
            connection.buffer.clear();
            const auto got = co_await connection.socket.async_read_some(connection.buffer.prepare(65536), into(code));
            total += got;
        }
    }

    Task<Reply> answer(const std::shared_ptr<Connection>& connection, const http::request<http::string_body>& message)
    {
        RawRequest raw;
        raw.method = text_of(message.method_string());
        raw.target = text_of(message.target());
        raw.body = message.body();
        raw.accept = text_of(message[http::field::accept]);
        raw.content_type = text_of(message[http::field::content_type]);
        raw.idempotency_key = text_of(message["Idempotency-Key"]);
        raw.if_match = text_of(message[http::field::if_match]);
        raw.if_none_match = text_of(message[http::field::if_none_match]);
        raw.last_event_id = text_of(message["Last-Event-ID"]);
        raw.request_id = text_of(message["X-Request-Id"]);
        raw.wants_link = beast::iequals(message[http::field::upgrade], api::kLinkProtocol);
        raw.identity = connection->identity;
        connection->stop = {};
        raw.stop = connection->stop.get_token();
        const auto shared = std::make_shared<RawRequest>(std::move(raw));
        std::function<Reply()> handle = [this, shared] { return dispatcher_.handle(*shared); };
        // A peer that has gone (not one that has only said all it has to say) wants no answer any more.
        connection->socket.async_wait(Local::socket::wait_error, [weak = std::weak_ptr{connection}](const Code& code) {
            if (const auto self = weak.lock(); self && !code) self->stop.request_stop();
        });
        auto reply = co_await on_worker(std::move(handle));
        Code ignored; // it may have gone
        connection->socket.cancel(ignored);
        if (!reply.later) co_return reply;

        const auto headers = reply.headers;
        const Later later = *std::move(reply.later);
        const auto bell = connection->bell = std::make_shared<Bell>(io_);
        const auto watching = later.subscribe([bell] { bell->ring(); });
        if (!stopping_) co_await bell->wait(later.timeout);
        connection->bell.reset();
        auto finished = co_await on_worker(later.finish);
        finished.headers.insert(headers.begin(), headers.end());
        co_return finished;
    }

    /// Runs `work` on a worker thread.
    Task<Reply> on_worker(std::function<Reply()> work)
    {
        const auto done = std::make_shared<Bell>(io_);
        const auto reply = std::make_shared<Reply>();
        const bool taken = pool_->submit([done, reply, work = std::move(work)] {
            try { // this is the outermost frame; one request that goes wrong is not the end of all others
                *reply = work();
            } catch (const std::exception& error) {
                *reply = failed(error);
            }
            done->ring(); // posts: what was written above is seen by whoever wakes
        });
        if (!taken) co_return busy("coppiced has too many requests waiting");
        co_await done->wait(kForEver);
        co_return std::move(*reply);
    }

    Task<bool> write(Connection& connection, const Reply& reply, unsigned version, bool is_head, bool keep)
    {
        auto response = to_http(reply, version, is_head, keep);
        http::response_serializer<http::string_body> serializer{response};
        Code code;
        connection.set_deadline(limits_.write_time);
        if (is_head)
            co_await http::async_write_header(connection.socket, serializer, into(code));
        else
            co_await http::async_write(connection.socket, serializer, into(code));
        if (code && connection.is_timed_out())
            log::warn("server", "a client did not take its answer", {{"client", connection.identity.text()}});
        co_return !code && keep;
    }

    Task<bool> write_text(Connection& connection, std::string_view text)
    {
        Code code;
        connection.set_deadline(limits_.write_time);
        co_await asio::async_write(connection.socket, asio::buffer(text.data(), text.size()), into(code));
        if (code && connection.is_timed_out())
            log::warn("server", "a client was too slow for its stream and was dropped",
                      {{"client", connection.identity.text()}});
        co_return !code;
    }

    /// The socket goes with the first byte of the answer, which is short enough for any client that still listens.
    static void hand_over(Connection& connection, const Reply& reply)
    {
        std::string head =
            cat("HTTP/1.1 101 Switching Protocols\r\nServer: coppiced\r\nConnection: Upgrade\r\nUpgrade: ",
                api::kLinkProtocol, "\r\n");
        for (const auto& [name, value] : reply.headers)
            head += cat(name, ": ", value, "\r\n");
        const os::Fd socket{::fcntl(connection.socket.native_handle(), F_DUPFD_CLOEXEC, 0)};
        const auto sent = os::send_message(socket, head + "\r\n", {reply.link->get()});
        if (!sent) // it sees the end of the connection
            log::warn("server", "a client did not take its link",
                      {{"client", connection.identity.text()}, {"error", sent.error().line()}});
    }

    /// However long it is: the deadline is for each part. The connection ends with it, so that a file that could not
    /// be read to its end is not taken for a whole one.
    Task<> send_file(Connection& connection, const Reply& reply, bool is_head)
    {
        struct stat status{};
        if (::fstat(reply.file->get(), &status) < 0) co_return;
        std::string part = cat(
            "HTTP/1.1 200 OK\r\nServer: coppiced\r\nContent-Type: ", reply.type, "\r\nContent-Length: ", status.st_size,
            "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n");
        for (const auto& [name, value] : reply.headers)
            part += cat(name, ": ", value, "\r\n");
        part += "\r\n";
        bool alive = co_await write_text(connection, part);
        constexpr std::size_t kPartBytes = 256U << 10;
        for (off_t at = 0; alive && !is_head && at < status.st_size;) {
            part.resize(kPartBytes);
            const auto got = ::pread(reply.file->get(), part.data(), part.size(), at);
            if (got <= 0) {
                log::error("server", "a file ended early", {{"client", connection.identity.text()}});
                co_return;
            }
            part.resize(static_cast<std::size_t>(got));
            at += got;
            alive = co_await write_text(connection, part);
        }
    }

    /// Until the client goes, falls behind, or the server stops.
    Task<> send_stream(Connection& connection, const Reply& reply, bool is_head)
    {
        std::string head = "HTTP/1.1 200 OK\r\nServer: coppiced\r\nContent-Type: text/event-stream\r\n"
                           "Cache-Control: no-store\r\nConnection: close\r\n";
        for (const auto& [name, value] : reply.headers)
            head += cat(name, ": ", value, "\r\n");
        head += "\r\n";
        if (!is_head) head += ": coppiced\n\n";
        bool alive = co_await write_text(connection, head);
        if (is_head) co_return;
        const auto bell = connection.bell = std::make_shared<Bell>(io_);
        const auto watching = reply.stream->subscribe([bell] { bell->ring(); });
        while (alive && !stopping_) {
            const auto piece = reply.stream->take();
            if (!piece.bytes.empty()) {
                alive = co_await write_text(connection, piece.bytes);
                if (piece.is_last) co_return;
                continue;
            }
            const bool news = co_await bell->wait(limits_.heartbeat);
            if (!news && !stopping_) alive = co_await write_text(connection, ": still here\n\n");
        }
    }

    Dispatcher& dispatcher_;
    ServerLimits limits_;
    std::chrono::milliseconds patience_{};
    asio::io_context io_{1};
    asio::steady_timer end_{io_};
    std::list<Local::acceptor> acceptors_;
    std::list<asio::posix::stream_descriptor> watched_;
    std::set<std::shared_ptr<Connection>> connections_;
    bool stopping_ = false;
    std::unique_ptr<WorkerPool> pool_;
};

Server::Server(std::unique_ptr<Impl> impl) : impl_{std::move(impl)} {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::make(std::vector<os::Fd> listeners, Dispatcher& dispatcher, ServerLimits limits)
{
    auto impl = std::make_unique<Impl>(dispatcher, limits);
    for (os::Fd& listener : listeners)
        TRY(impl->listen(std::move(listener)));
    return std::unique_ptr<Server>{new Server{std::move(impl)}};
}

Result<> Server::watch(const os::Fd& fd, std::function<void()> handler) { return impl_->watch(fd, std::move(handler)); }
Result<> Server::run(std::chrono::milliseconds patience) { return impl_->run(patience); }
void Server::stop() { impl_->stop(); }
void Server::end_handlers() { impl_->end_handlers(); }

} // namespace coppice::daemon
