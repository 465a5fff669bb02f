// Answers of any length, against a small server that says what a test wants it to.

#include "coppice/api/client.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"

#include <coppice/test/expect.h>
#include <coppice/test/temp_dir.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace coppice::api {
namespace {

using namespace std::chrono_literals;

class DownloadTest : public testing::Test {
protected:
    ~DownloadTest() override
    {
        if (!server_.joinable()) return;
        ::shutdown(listener_.get(), SHUT_RDWR);
        server_.join();
    }

    /// Each connection gets `answer`, once its request has been read.
    void serve(std::function<void(int connection)> answer)
    {
        listener_ = test::value_of(os::listen_stream(socket_, 0600));
        server_ = std::thread{[this, answer = std::move(answer)] {
            for (;;) {
                const os::Fd connection{::accept(listener_.get(), nullptr, nullptr)};
                if (!connection.is_open()) return;
                ++connections_;
                std::array<char, 4096> request{};
                if (::read(connection.get(), request.data(), request.size()) > 0) answer(connection.get());
            }
        }};
    }
    static void say(int connection, std::string_view text)
    {
        (void)::send(connection, text.data(), text.size(), MSG_NOSIGNAL); // it may have gone
    }

    Result<std::uint64_t> count()
    {
        std::uint64_t bytes = 0;
        auto done = client_.download({.target = "/v1/x", .timeout = 500ms}, [&](std::string_view piece) -> Result<> {
            bytes += piece.size();
            longest_ = std::max(longest_, piece.size());
            return {};
        });
        if (!done) return fail(std::move(done).error());
        return bytes;
    }

    test::TempDir directory_;
    std::string socket_ = directory_ / "socket";
    Client client_{socket_};
    os::Fd listener_;
    std::thread server_;
    std::atomic<int> connections_ = 0;
    std::size_t longest_ = 0;
};

TEST_F(DownloadTest, HandsOverManyBytesInSmallPieces)
{
    static constexpr std::uint64_t kBytes = 300U << 20; // far more than `call` takes
    serve([](int connection) {
        say(connection, cat("HTTP/1.1 200 OK\r\nContent-Length: ", kBytes, "\r\n\r\n"));
        const std::string piece(1U << 20, 'x');
        for (std::uint64_t sent = 0; sent < kBytes; sent += piece.size())
            say(connection, piece);
    });
    EXPECT_EQ(test::value_of(count()), kBytes);
    EXPECT_LE(longest_, 1U << 20);
    EXPECT_EQ(connections_, 1);
}

TEST_F(DownloadTest, TakesChunksAndAnEmptyBody)
{
    int turn = 0;
    serve([&turn](int connection) {
        say(connection, turn++ == 0
                            ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"
                            : "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    EXPECT_EQ(test::value_of(count()), 4U);
    EXPECT_EQ(test::value_of(count()), 0U);
}

TEST_F(DownloadTest, AnEndInTheMiddleIsAnErrorAndNotTriedAgain)
{
    serve([](int connection) { say(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"); });
    const auto done = count();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind(), ErrorKind::Gone);
    EXPECT_EQ(connections_, 1);
}

TEST_F(DownloadTest, AChunkedBodyWithoutItsLastChunkIsAnError)
{
    serve([](int connection) { say(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"); });
    EXPECT_FALSE(count());
}

TEST_F(DownloadTest, IsTriedAgainBeforeTheFirstByte)
{
    int turn = 0;
    serve([&turn](int connection) {
        if (turn++ > 0) say(connection, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    });
    EXPECT_EQ(test::value_of(count()), 3U);
    EXPECT_EQ(connections_, 2);
}

TEST_F(DownloadTest, TellsWhatTheDaemonSays)
{
    serve([](int connection) {
        const std::string body = R"({"type":"urn:coppice:error:not-found","status":404,"detail":"no file /x"})";
        say(connection, cat("HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: ",
                            body.size(), "\r\n\r\n", body));
    });
    const auto done = count();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind(), ErrorKind::NotFound);
    EXPECT_EQ(done.error().message(), "no file /x");
}

TEST_F(DownloadTest, ASilentDaemonIsWaitedForNoLongerThanTold)
{
    serve([](int connection) {
        say(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        std::this_thread::sleep_for(1500ms);
    });
    const auto done = count();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().kind(), ErrorKind::Unavailable);
}

TEST_F(DownloadTest, EndsWhenItIsInterrupted)
{
    serve([](int connection) {
        say(connection, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin");
        std::this_thread::sleep_for(2s);
    });
    client_.heed([this] { return connections_ > 0; });
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_TRUE(test::fails_as(
        ErrorKind::Unavailable, "interrupted",
        client_.download({.target = "/v1/x", .timeout = 60s}, [](std::string_view) { return Result<>{}; })));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 1500ms);
}

TEST_F(DownloadTest, AnErrorOfTheTakerEndsIt)
{
    serve([](int connection) { say(connection, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"); });
    const auto done = client_.download({.target = "/v1/x"},
                                       [](std::string_view) -> Result<> { return fail(ErrorKind::Denied, "no room"); });
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().message(), "no room");
    EXPECT_EQ(connections_, 1);
}

} // namespace
} // namespace coppice::api
