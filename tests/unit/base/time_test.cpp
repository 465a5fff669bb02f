#include "coppice/base/time.h"

#include "coppice/test/expect.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

using test::value_of;

TEST(TimeTest, WritesAndReadsRfc3339)
{
    for (const timespec time : {timespec{.tv_sec = 0, .tv_nsec = 0}, timespec{.tv_sec = 1'769'847'300, .tv_nsec = 1},
                                timespec{.tv_sec = 4'102'444'799, .tv_nsec = 999'999'999}}) {
        const auto read = value_of(parse_rfc3339(to_rfc3339(time)));
        EXPECT_EQ(read.tv_sec, time.tv_sec);
        EXPECT_EQ(read.tv_nsec, time.tv_nsec);
    }
}

TEST(TimeTest, ReadsOffsetsAndFractions)
{
    EXPECT_EQ(value_of(parse_rfc3339("1970-01-01T00:00:10Z")).tv_sec, 10);
    EXPECT_EQ(value_of(parse_rfc3339("1970-01-01T00:00:10.5Z")).tv_nsec, 500'000'000);
    EXPECT_EQ(value_of(parse_rfc3339("1970-01-01T00:00:10.9999999999Z")).tv_nsec, 999'999'999);
    EXPECT_EQ(value_of(parse_rfc3339("1970-01-01T02:00:00+02:00")).tv_sec, 0);
    EXPECT_EQ(value_of(parse_rfc3339("1970-01-01T00:00:00-00:30")).tv_sec, 1800);
}

TEST(TimeTest, RefusesWhatIsNone)
{
    for (const char* const text :
         {"", "1970-01-01", "1970-01-01T00:00:00", "1970-02-31T00:00:00Z", "1970-01-01T00:00:00.Z",
          "1970-01-01T00:00:00Zx", "1970-01-01T00:00:00+2:00", "1970-01-01T00:00:00+02:60", "1969-12-31T23:59:59Z",
          "1970-01-01T00:00:00+02:00", "9999-01-01T00:00:00Z"})
        EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "is no time", parse_rfc3339(text))) << text;
}

} // namespace
} // namespace coppice
