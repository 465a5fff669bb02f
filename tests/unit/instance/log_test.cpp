#include "coppice/base/time.h"
#include "coppice/instance/log_file.h"
#include "coppice/instance/log_reader.h"
#include "coppice/os/file.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <thread>
#include <unistd.h>

namespace coppice::instance {
namespace {

using test::fails_as;
using test::succeeds;
using test::value_of;

constexpr std::string_view kTime = "2026-01-31T08:15:00.000000001Z";
constexpr LogLimits kSmall{.bytes = kLeastLogBytes, .files = 3};

std::string record(std::string_view rest) { return std::string{kTime} + ' ' + std::string{rest} + '\n'; }
std::string at_second(int second, std::string_view rest)
{
    return to_rfc3339({.tv_sec = second, .tv_nsec = 0}) + ' ' + std::string{rest} + '\n';
}

TEST(LogRecordTest, IsReadAsItWasWritten)
{
    for (const LogStream stream : {LogStream::Out, LogStream::Error})
        for (const bool is_partial : {false, true})
            for (const std::string_view text : {"", "text", " P F ", "\r"}) {
                std::string line;
                append_record(line, {.time = kTime, .stream = stream, .is_partial = is_partial, .text = text});
                ASSERT_EQ(line.back(), '\n');
                line.pop_back();
                const auto read = parse_record(line);
                ASSERT_TRUE(read) << line;
                EXPECT_EQ(read->time, kTime);
                EXPECT_EQ(read->stream, stream);
                EXPECT_EQ(read->is_partial, is_partial);
                EXPECT_EQ(read->text, text);
                EXPECT_EQ(size_of(*read), line.size() + 1);
            }
}

TEST(LogRecordTest, HasTheFormOfTheContainerRuntimeInterface)
{
    std::string line;
    append_record(line, {.time = kTime, .stream = LogStream::Error, .is_partial = true, .text = "a b"});
    EXPECT_EQ(line, "2026-01-31T08:15:00.000000001Z stderr P a b\n");
}

TEST(LogRecordTest, WhatIsNone)
{
    for (const char* const line :
         {"", "text", "2026-01-31T08:15:00.000000001Z", "2026-01-31T08:15:00.000000001Z stdout F",
          "2026-01-31T08:15:00.000000001Z stdout X text", "2026-01-31T08:15:00.000000001Z stdin  F text",
          "2026-01-31T08:15:00.00000001Z stdout F text", "2026-01-31 08:15:00.000000001Z stdout F text",
          "2026-01-31T08:15:00.000000001Z stdoutF text is here", "2O26-01-31T08:15:00.000000001Z stdout F text"})
        EXPECT_FALSE(parse_record(line)) << line;
}

TEST(LogTimeTest, Forms)
{
    const timespec now{.tv_sec = 100'000, .tv_nsec = 500'000'000};
    const auto second = [](time_t seconds, long nanoseconds = 0) {
        return to_rfc3339({.tv_sec = seconds, .tv_nsec = nanoseconds});
    };
    EXPECT_EQ(value_of(parse_log_time("0", now)), second(0));
    EXPECT_EQ(value_of(parse_log_time("1700000000", now)), second(1'700'000'000));
    EXPECT_EQ(value_of(parse_log_time("1700000000.25", now)), second(1'700'000'000, 250'000'000));
    EXPECT_EQ(value_of(parse_log_time("1700000000.000000001", now)), second(1'700'000'000, 1));
    EXPECT_EQ(value_of(parse_log_time("10m", now)), second(99'400, 500'000'000));
    EXPECT_EQ(value_of(parse_log_time("1h30m", now)), second(94'600, 500'000'000));
    EXPECT_EQ(value_of(parse_log_time("100h", now)), second(0)) << "before 1970";
    EXPECT_EQ(value_of(parse_log_time("1970-01-01T02:00:05+02:00", now)), second(5));
    for (const char* const text : {"", "-1", "x", "1.", "1.0000000001", "1.-5", "9300000000", "2026-01-31"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "10m for ten minutes ago", parse_log_time(text, now))) << text;
}

/// By this process and from files, cached or not. Source: proc_pid_io(5)
std::uint64_t bytes_read()
{
    std::ifstream file{"/proc/self/io"};
    std::string name;
    std::uint64_t count = 0;
    file >> name >> count;
    return count;
}

class LogTest : public testing::Test {
protected:
    LogFile open(const LogLimits& limits = kSmall) { return value_of(LogFile::open(directory_.fd(), limits)); }
    std::uint64_t size(const std::string& name) const
    {
        return directory_.exists(name) ? std::filesystem::file_size(directory_ / name) : 0;
    }
    /// Records without their times.
    std::vector<std::string> records(const std::string& name) const
    {
        std::vector<std::string> all;
        std::ifstream file{directory_ / name};
        for (std::string line; std::getline(file, line);)
            all.push_back(line.size() > kTime.size() ? line.substr(kTime.size() + 1) : line);
        return all;
    }
    /// What is shown: "out:" or "err:" in front of each change of the stream.
    static LogReader::Visit into(std::string& shown)
    {
        return [&shown, last = std::optional<LogStream>{}](const LogPiece& piece) mutable -> Result<> {
            if (last != piece.stream) shown += piece.stream == LogStream::Out ? "out:" : "err:";
            last = piece.stream;
            append_piece(shown, piece, false);
            return {};
        };
    }
    std::string show(LogQuery query = {})
    {
        std::string shown;
        auto reader = value_of(LogReader::open(directory_.fd(), std::move(query)));
        value_of(reader.read(into(shown)));
        damaged_ = reader.damaged();
        return shown;
    }
    std::string tail(std::uint64_t lines) { return show({.tail = lines}); }

    test::TempDir directory_;
    std::uint64_t damaged_ = 0;
};

TEST_F(LogTest, GoesOnWhereItWas)
{
    ASSERT_TRUE(succeeds(open().append(LogStream::Out, "one\n")));
    ASSERT_TRUE(succeeds(open().append(LogStream::Error, "two\n\nthree")));
    EXPECT_EQ(records("log"),
              (std::vector<std::string>{"stdout F one", "stderr F two", "stderr F ", "stderr P three"}));
}

TEST_F(LogTest, ALinkIsNotFollowed)
{
    directory_.write("victim", "v");
    std::filesystem::create_symlink("victim", directory_ / "log");
    EXPECT_FALSE(LogFile::open(directory_.fd(), kSmall));
    EXPECT_FALSE(LogReader::open(directory_.fd(), {}));
    EXPECT_EQ(directory_.read("victim"), "v");
}

TEST_F(LogTest, LongLinesAreSeveralRecords)
{
    const std::string text(kRecordTextMost, 'x');
    auto log = open();
    ASSERT_TRUE(succeeds(log.append(LogStream::Out, text + "\n")));
    ASSERT_TRUE(succeeds(log.append(LogStream::Out, text + "y\n")));
    EXPECT_EQ(records("log"), (std::vector<std::string>{"stdout F " + text, "stdout P " + text, "stdout F y"}));
    EXPECT_EQ(show(), "out:" + text + '\n' + text + "y\n");
}

TEST_F(LogTest, RotatesBetweenRecordsOnly)
{
    auto log = open();
    for (int i = 0; i < 5000; ++i)
        ASSERT_TRUE(succeeds(log.append(LogStream::Out, "line " + std::to_string(i) + '\n')));
    EXPECT_FALSE(directory_.exists("log.3"));
    int expected = 4999;
    for (const char* const name : {"log", "log.1", "log.2"}) {
        EXPECT_LE(size(name), kSmall.bytes) << name;
        const auto lines = records(name);
        for (auto line = lines.rbegin(); line != lines.rend(); ++line)
            ASSERT_EQ(*line, "stdout F line " + std::to_string(expected--)) << name;
    }
    for (const char* const name : {"log.1", "log.2"})
        EXPECT_GT(size(name), kSmall.bytes - 60) << name << ": full to the last record";
}

TEST_F(LogTest, OneChunkMayFillSeveralFiles)
{
    std::string lines;
    for (int i = 0; i < 6000; ++i)
        lines += std::to_string(i) + '\n';
    auto log = open({.bytes = kLeastLogBytes, .files = 10});
    ASSERT_TRUE(succeeds(log.append(LogStream::Out, lines)));
    EXPECT_TRUE(directory_.exists("log.4"));
    EXPECT_EQ(show(), "out:" + lines);
}

TEST_F(LogTest, OneFileIsBegunAnew)
{
    auto log = open({.bytes = kLeastLogBytes, .files = 1});
    for (int i = 0; i < 5000; ++i)
        ASSERT_TRUE(succeeds(log.append(LogStream::Out, "line " + std::to_string(i) + '\n')));
    EXPECT_FALSE(directory_.exists("log.1"));
    EXPECT_LE(size("log"), kLeastLogBytes);
    EXPECT_TRUE(show().ends_with("line 4999\n"));
}

TEST_F(LogTest, TheBoundHoldsOverARestart)
{
    directory_.write("log", std::string(kLeastLogBytes - 1, 'x') + '\n');
    ASSERT_TRUE(succeeds(open().append(LogStream::Out, "y\n")));
    EXPECT_EQ(size("log.1"), static_cast<std::uint64_t>(kLeastLogBytes));
    EXPECT_EQ(records("log"), (std::vector<std::string>{"stdout F y"}));
}

TEST_F(LogTest, FewerFilesThanBefore)
{
    for (const char* const name : {"log", "log.1", "log.2", "log.3", "log.4"})
        directory_.write(name, record("stdout F " + std::string{name}));
    const auto log = open({.bytes = kLeastLogBytes, .files = 2});
    EXPECT_EQ(show(), "out:log.1\nlog\n");
    EXPECT_FALSE(directory_.exists("log.2"));
    EXPECT_FALSE(directory_.exists("log.4"));
}

TEST_F(LogTest, ARecordThatWasCutOffDoesNotSwallowTheNext)
{
    directory_.write("log", record("stdout F one") + "2026-01-31T08:15:00.0000");
    ASSERT_TRUE(succeeds(open().append(LogStream::Out, "two\n")));
    EXPECT_EQ(show(), "out:one\ntwo\n");
    EXPECT_EQ(damaged_, 1U);
}

/// Writing fails in the middle of a record, as on a full disk.
TEST_F(LogTest, AFullDiskLosesNothingThatComesLater)
{
    auto log = open({.bytes = kDefaultLogBytes, .files = 2});
    ASSERT_TRUE(succeeds(log.append(LogStream::Out, "one\n")));
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    ::getrlimit(RLIMIT_FSIZE, &before);
    const rlimit tight{.rlim_cur = size("log") + 60, .rlim_max = before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &tight);
    EXPECT_FALSE(log.append(LogStream::Out, "two\nlost\n"));
    EXPECT_FALSE(log.append(LogStream::Out, "lost\n"));
    ::setrlimit(RLIMIT_FSIZE, &before);
    EXPECT_TRUE(succeeds(log.append(LogStream::Out, "three\n")));
    EXPECT_EQ(show(), "out:one\ntwo\nthree\n");
    EXPECT_FALSE(directory_.exists("log.1")) << "what was not written fills no file";
}

TEST_F(LogTest, PartsAreJoinedAndStreamsKeptApart)
{
    directory_.write("log", record("stdout P one ") + record("stderr P bad ") + record("stdout P and ") +
                                record("stdout F two") + record("stderr F end") + record("stdout P prompt> "));
    EXPECT_EQ(show(), "out:one err:bad out:and two\nerr:end\nout:prompt> ");
}

TEST_F(LogTest, ALineSaysWhereItBegins)
{
    directory_.write("log", at_second(1, "stdout P a") + at_second(2, "stdout F b") + at_second(3, "stdout F c"));
    auto reader = value_of(LogReader::open(directory_.fd(), {}));
    std::string shown;
    value_of(reader.read([&shown](const LogPiece& piece) -> Result<> {
        shown += (piece.begins_line ? std::string{piece.time} : "+") + std::string{piece.text} + ' ';
        return {};
    }));
    EXPECT_EQ(shown, "1970-01-01T00:00:01.000000000Za +b 1970-01-01T00:00:03.000000000Zc ");
}

TEST_F(LogTest, DamagedLinesAreLeftOutAndCounted)
{
    directory_.write("log", record("stdout F one") + "nonsense\n" + std::string(200'000, 'x') + '\n' +
                                std::string(3, '\0') + '\n' + "\n" + record("stdout F two"));
    EXPECT_EQ(show(), "out:one\ntwo\n");
    EXPECT_EQ(damaged_, 3U);
    EXPECT_EQ(tail(2), "out:one\ntwo\n");
    EXPECT_EQ(tail(1), "out:two\n");
}

TEST_F(LogTest, SinceAndUntilGoAcrossFiles)
{
    directory_.write("log.2", at_second(1, "stdout F 1") + at_second(2, "stdout P 2"));
    directory_.write("log.1", at_second(3, "stdout F 3") + at_second(4, "stderr F 4"));
    directory_.write("log", at_second(5, "stdout F 5"));
    const auto moment = [](int second) { return to_rfc3339({.tv_sec = second, .tv_nsec = 0}); };
    EXPECT_EQ(show(), "out:1\n23\nerr:4\nout:5\n");
    EXPECT_EQ(show({.since = moment(4)}), "err:4\nout:5\n");
    EXPECT_EQ(show({.since = moment(2)}), "out:23\nerr:4\nout:5\n");
    EXPECT_EQ(show({.since = moment(3)}), "err:4\nout:5\n") << "the line of 3 began before";
    EXPECT_EQ(show({.until = moment(2)}), "out:1\n23\n");
    EXPECT_EQ(show({.since = moment(4), .until = moment(4)}), "err:4\n");
    EXPECT_EQ(show({.until = moment(4), .tail = 1}), "err:4\n");
    EXPECT_EQ(show({.until = moment(3), .tail = 1}), "out:23\n");
    EXPECT_EQ(show({.since = moment(6)}), "");
}

TEST_F(LogTest, TailCountsLinesNotRecords)
{
    directory_.write("log.1", record("stdout F one") + record("stdout P two ") + record("stderr F a"));
    directory_.write("log", record("stdout P and ") + record("stderr F b") + record("stdout F a half") +
                                record("stderr F c") + record("stdout P >"));
    EXPECT_EQ(tail(0), "");
    EXPECT_EQ(tail(1), "out:>");
    EXPECT_EQ(tail(2), "err:c\nout:>");
    EXPECT_EQ(tail(3), "out:two and a half\nerr:c\nout:>");
    EXPECT_EQ(tail(4), "out:two and err:b\nout:a half\nerr:c\nout:>");
    EXPECT_EQ(tail(5), "out:two err:a\nout:and err:b\nout:a half\nerr:c\nout:>");
    EXPECT_EQ(tail(6), show());
    EXPECT_EQ(tail(1000), show());
}

TEST_F(LogTest, TailOfEveryLength)
{
    auto log = open({.bytes = kLeastLogBytes, .files = 4});
    std::vector<std::string> lines;
    for (int i = 0; i < 3000; ++i) {
        lines.push_back(std::to_string(i) + std::string(static_cast<std::size_t>(i * 7 % 90), 'x') + '\n');
        ASSERT_TRUE(succeeds(log.append(LogStream::Out, lines.back())));
    }
    const std::string all = show();
    for (std::size_t count = 0; count <= 1500; count += 61) {
        std::string expected = count == 0 ? "" : "out:";
        for (std::size_t i = lines.size() - count; i < lines.size(); ++i)
            expected += lines[i];
        ASSERT_EQ(tail(count), expected) << count;
    }
    EXPECT_EQ(tail(3000), all);
}

TEST_F(LogTest, TailDoesNotReadWhatIsFurtherBack)
{
    if (bytes_read() == 0) GTEST_SKIP() << "needs a kernel that counts what is read";
    directory_.write("log.2", record("stdout F old"));
    {
        std::ofstream file{directory_ / "log.1"};
        for (int i = 0; i < 100'000; ++i)
            file << record("stdout F line");
        file << record("stderr F the only one");
    }
    directory_.write("log", record("stdout F end"));
    const std::uint64_t before = bytes_read();
    EXPECT_EQ(tail(2), "err:the only one\nout:end\n");
    EXPECT_LT(bytes_read() - before, 2U << 20) << "1 MiB back for the beginning of a line";
}

TEST_F(LogTest, NoLogIsAnEmptyOne)
{
    EXPECT_EQ(show(), "");
    EXPECT_EQ(tail(5), "");
    auto reader = value_of(LogReader::open(directory_.fd(), {.tail = 5, .follow = true}));
    std::string shown;
    const auto visit = into(shown);
    value_of(reader.read(visit));
    auto log = open();
    ASSERT_TRUE(succeeds(log.append(LogStream::Out, "first\n")));
    value_of(reader.read(visit));
    EXPECT_EQ(shown, "out:first\n");
}

TEST_F(LogTest, FollowSeesARecordOnceItIsWhole)
{
    directory_.write("log", record("stdout F one"));
    auto reader = value_of(LogReader::open(directory_.fd(), {.tail = 0, .follow = true}));
    std::string shown;
    const auto visit = into(shown);
    value_of(reader.read(visit));
    const std::string line = record("stdout F two");
    std::ofstream file{directory_ / "log", std::ios::app};
    for (const char byte : line) {
        EXPECT_EQ(shown, "");
        file << byte << std::flush;
        value_of(reader.read(visit));
    }
    EXPECT_EQ(shown, "out:two\n");
}

TEST_F(LogTest, FollowGoesOnOverSeveralRotations)
{
    auto log = open({.bytes = kLeastLogBytes, .files = 5});
    auto reader = value_of(LogReader::open(directory_.fd(), {.follow = true}));
    std::string shown, expected = "out:";
    const auto visit = into(shown);
    for (int i = 0; i < 20'000; ++i) {
        const std::string line = std::to_string(i) + '\n';
        expected += line;
        ASSERT_TRUE(succeeds(log.append(LogStream::Out, line)));
        if (i % 4500 == 0) value_of(reader.read(visit)); // three files later
    }
    value_of(reader.read(visit));
    EXPECT_EQ(shown, expected);
    EXPECT_EQ(reader.gaps(), 0U);
}

TEST_F(LogTest, FollowSaysWhatItMissed)
{
    auto log = open();
    auto reader = value_of(LogReader::open(directory_.fd(), {.follow = true}));
    std::string shown;
    const auto visit = into(shown);
    value_of(reader.read(visit));
    for (int i = 0; i < 20'000; ++i)
        ASSERT_TRUE(succeeds(log.append(LogStream::Out, std::to_string(i) + '\n')));
    value_of(reader.read(visit));
    EXPECT_EQ(reader.gaps(), 1U);
    EXPECT_TRUE(shown.starts_with("out:0\n1\n")) << "the file that it held";
    EXPECT_TRUE(shown.ends_with(show().substr(4))) << "all that is there";
}

TEST_F(LogTest, FollowWhileItIsWritten)
{
    constexpr int kLines = 200'000;
    auto log = open({.bytes = kLeastLogBytes, .files = kMostLogFiles});
    auto reader = value_of(LogReader::open(directory_.fd(), {.follow = true}));
    std::atomic<bool> is_done = false;
    std::thread writer{[&] {
        std::string lines;
        for (int i = 0; i < kLines; ++i) {
            lines += std::to_string(i) + '\n';
            if (i % 50 == 49) value_of(log.append(i % 100 < 50 ? LogStream::Out : LogStream::Error, lines));
            if (i % 50 == 49) lines.clear();
        }
        is_done = true;
    }};
    int next = 0, wrong = 0;
    for (bool last = false; !last;) {
        last = is_done;
        value_of(reader.read([&](const LogPiece& piece) -> Result<> {
            if (piece.text != std::to_string(next++)) ++wrong;
            return {};
        }));
    }
    writer.join();
    EXPECT_EQ(next, kLines);
    EXPECT_EQ(wrong, 0);
    EXPECT_EQ(reader.gaps() + reader.damaged(), 0U);
}

} // namespace
} // namespace coppice::instance
