// Locks, the event loop, signals and sockets. Needs nothing; here because it forks and blocks signals.

#include "coppice/os/event_loop.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/lock.h"
#include "coppice/os/unix_socket.h"
#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <optional>
#include <sys/epoll.h>
#include <unistd.h>

namespace coppice::os {
namespace {

using test::fails_as;
using test::in_child;
using test::succeeds;
using test::value_of;

class FileLockTest : public testing::Test {
protected:
    bool is_held() const { return value_of(FileLock::is_held(directory_.fd(), "lock")); }
    bool can_take() const { return value_of(FileLock::try_take(directory_.fd(), "lock")).has_value(); }
    test::TempDir directory_;
};

TEST_F(FileLockTest, OneHolderAtATime)
{
    EXPECT_FALSE(is_held()) << "a missing file is not locked";
    EXPECT_FALSE(directory_.exists("lock")) << "asking makes none";
    auto lock = std::optional{value_of(FileLock::take(directory_.fd(), "lock"))};
    EXPECT_TRUE(is_held());
    EXPECT_FALSE(can_take());
    EXPECT_TRUE(in_child(0, [&] { EXPECT_FALSE(can_take()); }));
    EXPECT_TRUE(is_held()) << "asking and trying take nothing away";
    lock.reset();
    EXPECT_FALSE(is_held());
    EXPECT_TRUE(can_take());
}

TEST_F(FileLockTest, ADeadHolderHoldsNothing)
{
    auto holder = value_of(fork_process({}, [&] {
        const auto lock = FileLock::take(directory_.fd(), "lock");
        ::pause();
        return 0;
    }));
    ASSERT_TRUE(test::wait_until([&] { return is_held(); }));
    EXPECT_FALSE(can_take());
    ASSERT_TRUE(succeeds(holder.send(SIGKILL)));
    ASSERT_TRUE(succeeds(holder.wait()));
    EXPECT_FALSE(is_held());
    EXPECT_TRUE(can_take());
}

TEST_F(FileLockTest, WaitsForTheHolder)
{
    auto lock = std::optional{value_of(FileLock::take(directory_.fd(), "lock"))};
    // A child would share the lock: it lets go of its copy first.
    auto waiter = value_of(fork_process({}, [&] {
        lock.reset();
        const auto own = FileLock::take(directory_.fd(), "lock");
        test::write_text(directory_ / "got", own ? "it" : "nothing");
        return 0;
    }));
    ::usleep(30'000);
    EXPECT_FALSE(directory_.exists("got"));
    lock.reset();
    EXPECT_EQ(value_of(waiter.wait()).code, 0);
    EXPECT_EQ(directory_.read("got"), "it");
}

TEST_F(FileLockTest, ALockOnARemovedFileIsWorthNothing)
{
    auto lock = std::optional{value_of(FileLock::take(directory_.fd(), "lock"))};
    auto waiter = value_of(fork_process({}, [&] {
        lock.reset();
        const auto own = FileLock::take(directory_.fd(), "lock"); // opened before the removal, had after it
        return own && is_held() ? 0 : 1;
    }));
    const std::string inode = cat(':', value_of(find_status(directory_.fd(), "lock"))->st_ino, ' ');
    ASSERT_TRUE(test::wait_until([&] { // proc_locks(5): who waits stands behind an arrow
        const auto locks = value_of(read_file(kCwd, "/proc/locks"));
        const auto lines = split(locks, '\n');
        return std::any_of(lines.begin(), lines.end(), [&](const auto line) {
            return line.find("->") != line.npos && line.find(inode) != line.npos;
        });
    }));
    ASSERT_TRUE(succeeds(remove_file(directory_.fd(), "lock")));
    lock.reset();
    EXPECT_EQ(value_of(waiter.wait()).code, 0) << "it locked a file that nobody else can find";
}

TEST_F(FileLockTest, ALinkIsNotFollowed)
{
    directory_.write("victim", "");
    std::filesystem::create_symlink("victim", directory_ / "lock");
    EXPECT_FALSE(FileLock::take(directory_.fd(), "lock"));
    EXPECT_FALSE(FileLock::try_take(directory_.fd(), "lock"));
}

TEST_F(FileLockTest, BytesOfAFileAreLockedOneByOne)
{
    const std::string path = directory_ / "bytes";
    const auto is_free = [&](std::uint64_t offset) {
        return value_of(FileLock::try_take_byte(path, offset)).has_value();
    };
    auto fifth = value_of(FileLock::try_take_byte(path, 5));
    ASSERT_TRUE(fifth.has_value());
    EXPECT_FALSE(is_free(5));
    EXPECT_TRUE(is_free(4));
    EXPECT_TRUE(is_free(6));
    EXPECT_FALSE(is_free(5)) << "letting go of the neighbours changes nothing";
    EXPECT_TRUE(in_child(0, [&] { EXPECT_FALSE(is_free(5)); }));
    fifth.reset();
    EXPECT_TRUE(is_free(5));
    auto holder = value_of(fork_process({}, [&] {
        const auto lock = FileLock::try_take_byte(path, 7);
        ::pause();
        return 0;
    }));
    ASSERT_TRUE(test::wait_until([&] { return !is_free(7); }));
    ASSERT_TRUE(succeeds(holder.send(SIGKILL)));
    ASSERT_TRUE(succeeds(holder.wait()));
    EXPECT_TRUE(is_free(7));
}

struct Pipe {
    Pipe()
    {
        std::array<int, 2> ends{};
        EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
        reading = Fd{ends[0]};
        writing = Fd{ends[1]};
    }
    void put() const { EXPECT_EQ(::write(writing.get(), "x", 1), 1); }
    void take() const
    {
        char byte = 0;
        EXPECT_EQ(::read(reading.get(), &byte, 1), 1);
    }
    Fd reading, writing;
};

TEST(EventLoopTest, CallsTheHandlerOfWhatIsReady)
{
    auto loop = value_of(EventLoop::make());
    const Pipe quiet, ready;
    int calls = 0;
    ASSERT_TRUE(succeeds(loop.add(quiet.reading, EPOLLIN, [&](std::uint32_t) { ADD_FAILURE() << "nothing to read"; })));
    ASSERT_TRUE(succeeds(loop.add(ready.reading, EPOLLIN, [&](std::uint32_t events) {
        EXPECT_TRUE(events & EPOLLIN);
        ready.take();
        if (++calls == 3)
            loop.stop();
        else
            ready.put();
    })));
    ready.put();
    ASSERT_TRUE(succeeds(loop.run()));
    EXPECT_EQ(calls, 3);
    EXPECT_FALSE(loop.add(ready.reading, EPOLLIN, [](std::uint32_t) {})) << "watched already";
}

TEST(EventLoopTest, AHandlerMayRemoveItselfAndOthers)
{
    auto loop = value_of(EventLoop::make());
    const Pipe a, b, end;
    std::string called;
    // Both are ready in the same round; whichever runs first removes both.
    const auto remove_both = [&, large = std::string(1000, 'x')](std::uint32_t) {
        loop.remove(a.reading);
        loop.remove(b.reading);
        called += large.substr(0, 1); // what the handler captured is still there
        end.put();
    };
    ASSERT_TRUE(succeeds(loop.add(a.reading, EPOLLIN, remove_both)));
    ASSERT_TRUE(succeeds(loop.add(b.reading, EPOLLIN, remove_both)));
    ASSERT_TRUE(succeeds(loop.add(end.reading, EPOLLIN, [&](std::uint32_t) { loop.stop(); })));
    a.put();
    b.put();
    ASSERT_TRUE(succeeds(loop.run()));
    EXPECT_EQ(called, "x");
}

TEST(EventLoopTest, ZeroWaitsForHangUpsOnly)
{
    auto loop = value_of(EventLoop::make());
    Pipe watched;
    const Pipe other;
    std::uint32_t seen = 0;
    ASSERT_TRUE(succeeds(loop.add(watched.reading, 0, [&](std::uint32_t events) {
        seen = events;
        loop.stop();
    })));
    ASSERT_TRUE(succeeds(loop.add(other.reading, EPOLLIN, [&](std::uint32_t) {
        EXPECT_EQ(seen, 0U) << "readable is not what was asked for";
        loop.remove(other.reading);
        watched.writing.reset();
    })));
    watched.put();
    other.put();
    ASSERT_TRUE(succeeds(loop.run()));
    EXPECT_TRUE(seen & EPOLLHUP);
}

TEST(SignalFdTest, SignalsBecomeReadable)
{
    EXPECT_TRUE(in_child(0, [] {
        const auto signals = value_of(SignalFd::make({SIGUSR1, SIGTERM}));
        EXPECT_EQ(signals.next(), 0);
        ::kill(::getpid(), SIGTERM); // would end us
        ::kill(::getpid(), SIGUSR1);
        const int first = signals.next(), second = signals.next();
        EXPECT_EQ(first + second, SIGUSR1 + SIGTERM);
        EXPECT_EQ(signals.next(), 0);
    }));
}

TEST(SignalFdTest, ResetGivesForeignCodeAPlainStart)
{
    EXPECT_TRUE(in_child(0, [] {
        const auto signals = value_of(SignalFd::make({SIGUSR1, SIGTERM}));
        ::signal(SIGPIPE, SIG_IGN);
        ::signal(SIGHUP, [](int) {});
        reset_signals();
        sigset_t mask;
        ::sigprocmask(SIG_SETMASK, nullptr, &mask);
        EXPECT_EQ(::sigisemptyset(&mask), 1);
        for (const int signal : {SIGPIPE, SIGHUP, SIGTERM}) {
            struct sigaction action{};
            ::sigaction(signal, nullptr, &action);
            EXPECT_EQ(action.sa_handler, SIG_DFL) << signal;
        }
    }));
}

ino_t inode_of(int fd)
{
    struct stat status{};
    EXPECT_EQ(::fstat(fd, &status), 0);
    return status.st_ino;
}

TEST(SocketTest, DescriptorsTravel)
{
    auto [ours, theirs] = value_of(socket_pair());
    const Pipe a, b;
    ASSERT_TRUE(succeeds(send_message(ours, "two", {a.reading.get(), b.writing.get()})));
    ASSERT_TRUE(succeeds(send_message(ours, "none")));
    const auto message = value_of(receive_message(theirs));
    EXPECT_EQ(message.bytes, "two");
    ASSERT_EQ(message.fds.size(), 2U);
    EXPECT_EQ(inode_of(message.fds[0].get()), inode_of(a.reading.get()));
    EXPECT_EQ(inode_of(message.fds[1].get()), inode_of(b.writing.get()));
    for (const Fd& fd : message.fds)
        EXPECT_TRUE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC);
    EXPECT_EQ(value_of(receive_message(theirs)).bytes, "none") << "messages keep their bounds";
}

TEST(SocketTest, ManyDescriptors)
{
    auto [ours, theirs] = value_of(socket_pair());
    const std::vector<int> many(250, ours.get());
    ASSERT_TRUE(succeeds(send_message(ours, "x", many)));
    EXPECT_EQ(value_of(receive_message(theirs)).fds.size(), 250U);
}

TEST(SocketTest, TheEndAndTooLong)
{
    auto [ours, theirs] = value_of(socket_pair());
    const auto open_descriptors = [] {
        return std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, {});
    };
    ASSERT_TRUE(succeeds(send_message(ours, "0123456789", {ours.get()})));
    const auto before = open_descriptors();
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "too long", receive_message(theirs, 5)));
    EXPECT_EQ(open_descriptors(), before) << "descriptors of a refused message are closed";
    ours.reset();
    EXPECT_TRUE(value_of(receive_message(theirs)).is_end());
    EXPECT_FALSE(send_message(theirs, "x")) << "and no SIGPIPE";
}

TEST(SocketTest, NamesInADirectoryOfAnyDepth)
{
    const test::TempDir directory;
    const std::string deep = std::string(100, 'a') + "/" + std::string(100, 'b');
    directory.make_directory(deep);
    const auto dir = value_of(open_at(directory.fd(), deep, O_RDONLY | O_DIRECTORY));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "start.sock", connect_in(dir.get(), "start.sock", 100)));
    {
        const auto listener = value_of(listen_in(dir.get(), "start.sock"));
        const auto client = value_of(connect_in(dir.get(), "start.sock", 100));
        const auto server = value_of(accept_from(listener));
        ASSERT_TRUE(succeeds(send_message(client, "hello")));
        EXPECT_EQ(value_of(receive_message(server)).bytes, "hello");
        EXPECT_FALSE(listen_in(dir.get(), "start.sock")) << "the name is taken";
    }
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "start.sock", connect_in(dir.get(), "start.sock", 100)))
        << "nobody listens any more";
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "connect to", connect_stream("/" + deep))) << "of any length";
}

TEST(SocketTest, AFullQueueIsSaidWhenNobodyWantsToWait)
{
    const test::TempDir directory;
    const auto listener = value_of(listen_in(directory.fd(), "s"));
    std::vector<Fd> waiting;
    for (int i = 0; i < 100; ++i) {
        auto client = connect_in(directory.fd(), "s", 0);
        if (!client) {
            EXPECT_EQ(client.error().os_errno(), EAGAIN);
            break;
        }
        waiting.push_back(*std::move(client));
    }
    EXPECT_LT(waiting.size(), 100U);
    EXPECT_EQ(connect_in(directory.fd(), "s", 20).error().os_errno(), EAGAIN) << "nobody waits for ever";
}

TEST(SocketTest, AMessageIsWaitedForOnlySoLong)
{
    auto [ours, theirs] = value_of(socket_pair());
    EXPECT_FALSE(value_of(wait_for_message(theirs, 20)));
    ASSERT_TRUE(succeeds(send_message(ours, "x")));
    EXPECT_TRUE(value_of(wait_for_message(theirs, 20)));
    EXPECT_EQ(value_of(receive_message(theirs)).bytes, "x");
    ours.reset();
    EXPECT_TRUE(value_of(wait_for_message(theirs, 20))) << "the end counts";
}

} // namespace
} // namespace coppice::os
