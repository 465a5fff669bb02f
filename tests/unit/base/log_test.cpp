#include "coppice/base/log.h"

#include "coppice/base/time.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <fcntl.h>
#include <unistd.h>

namespace coppice {
namespace {

class LogTest : public testing::Test {
protected:
    LogTest() { EXPECT_EQ(::pipe2(ends_.data(), O_CLOEXEC | O_NONBLOCK), 0); }
    ~LogTest() override
    {
        log::configure("coppice", STDERR_FILENO, log::Format::Text, log::Level::Info);
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    std::string written() const
    {
        std::array<char, 4096> buffer{};
        const auto got = ::read(ends_[0], buffer.data(), buffer.size());
        return got < 0 ? "" : std::string{buffer.data(), static_cast<std::size_t>(got)};
    }
    std::array<int, 2> ends_{-1, -1};
};

TEST_F(LogTest, TextLine)
{
    log::configure("prog", ends_[1], log::Format::Text, log::Level::Info);
    log::error("create", "no such bundle", {{"id", "web"}});
    EXPECT_EQ(written(), "prog: create: no such bundle id=web\n");
    log::warn("", "careful");
    EXPECT_EQ(written(), "prog: warning: careful\n");
}

TEST_F(LogTest, LevelsBelowTheLeastAreSilent)
{
    log::configure("prog", ends_[1], log::Format::Text, log::Level::Warn);
    log::info("m", "x");
    log::debug("m", "x");
    EXPECT_EQ(written(), "");
    log::configure("prog", ends_[1], log::Format::Text, log::Level::Debug);
    log::debug("m", "x");
    EXPECT_EQ(written(), "prog: debug: m: x\n");
}

TEST_F(LogTest, JsonLineIsOneObjectThatPodmanReads)
{
    log::configure("prog", ends_[1], log::Format::Json, log::Level::Info);
    log::error("create", "a \"quoted\"\nline \xff", {{"id", "web"}});
    const std::string line = written();
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const auto object = nlohmann::json::parse(line);
    EXPECT_EQ(object.at("level"), "error");
    EXPECT_EQ(object.at("msg"), "create: a \"quoted\"\nline \xEF\xBF\xBD id=web");
    EXPECT_EQ(object.size(), 3U);
    const auto time = object.at("time").get<std::string>();
    EXPECT_EQ(time.size(), std::string{"2026-01-31T08:15:00.000000001Z"}.size());
    EXPECT_EQ(time.substr(0, 16), to_rfc3339(now()).substr(0, 16)); // to the minute
    log::warn("m", "x");
    EXPECT_EQ(nlohmann::json::parse(written()).at("level"), "warning");
}

TEST(TimeTest, Rfc3339InUtcWithNanoseconds)
{
    EXPECT_EQ(to_rfc3339({.tv_sec = 0, .tv_nsec = 0}), "1970-01-01T00:00:00.000000000Z");
    EXPECT_EQ(to_rfc3339({.tv_sec = 1769847300, .tv_nsec = 1}), "2026-01-31T08:15:00.000000001Z");
    EXPECT_EQ(to_rfc3339({.tv_sec = 951782399, .tv_nsec = 999'999'999}), "2000-02-28T23:59:59.999999999Z");
}

} // namespace
} // namespace coppice
