#include "coppice/instance/schedule.h"

#include "coppice/base/time.h"
#include "coppice/test/expect.h"

#include <cstdlib>
#include <gtest/gtest.h>

namespace coppice::instance {
namespace {

using test::fails_as;
using test::value_of;

/// In a time zone, whatever the machine's is.
class ScheduleTest : public testing::Test {
protected:
    static void be_in(const char* zone)
    {
        ::setenv("TZ", zone, 1);
        ::tzset();
    }
    void TearDown() override
    {
        ::unsetenv("TZ");
        ::tzset();
    }
    static std::time_t at(const char* text) { return value_of(parse_rfc3339(text)).tv_sec; }
    static void expect(const char* name, const char* moment, const char* latest, const char* next)
    {
        const auto schedule = value_of(parse_schedules(std::string{name} + ":1")).front();
        EXPECT_EQ(latest_due(schedule, at(moment)), at(latest)) << name << " at " << moment;
        EXPECT_EQ(next_due(schedule, at(moment)), at(next)) << name << " at " << moment;
    }
};

TEST_F(ScheduleTest, TextAndBack)
{
    const char* const text = "minutely:60,hourly:24,daily:7,weekly:4,monthly:12,15m:8,1h30m:2,1s:1000";
    EXPECT_EQ(to_text(value_of(parse_schedules(text))), text);
    EXPECT_TRUE(value_of(parse_schedules("")).empty());
    EXPECT_EQ(value_of(parse_schedules("1h30m:2")).front().seconds, 5400);
}

TEST_F(ScheduleTest, Refused)
{
    for (const char* const text :
         {"hourly", "hourly:", "hourly:0", "hourly:1001", "hourly:-1", "hourly:x", ":1", "1500ms:1", "0s:1", "9000h:1",
          "yearly:1", "hourly:1,", ",hourly:1", "hourly:1,hourly:2", "1m:1:2"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_schedules(text))) << text;
}

TEST_F(ScheduleTest, CalendarOfTheZone)
{
    be_in("Europe/Berlin");
    expect("minutely", "2026-03-10T12:34:56+01:00", "2026-03-10T12:34:00+01:00", "2026-03-10T12:35:00+01:00");
    expect("hourly", "2026-03-10T12:34:56+01:00", "2026-03-10T12:00:00+01:00", "2026-03-10T13:00:00+01:00");
    expect("daily", "2026-03-10T12:34:56+01:00", "2026-03-10T00:00:00+01:00", "2026-03-11T00:00:00+01:00");
    expect("weekly", "2026-03-11T12:34:56+01:00", "2026-03-09T00:00:00+01:00", "2026-03-16T00:00:00+01:00");
    expect("weekly", "2026-03-15T23:59:59+01:00", "2026-03-09T00:00:00+01:00", "2026-03-16T00:00:00+01:00");
    expect("monthly", "2026-12-31T23:00:00+01:00", "2026-12-01T00:00:00+01:00", "2027-01-01T00:00:00+01:00");
    expect("daily", "2026-03-10T00:00:00+01:00", "2026-03-10T00:00:00+01:00", "2026-03-11T00:00:00+01:00");
}

TEST_F(ScheduleTest, ClocksThatAreSet)
{
    be_in("Europe/Berlin");
    expect("daily", "2026-03-29T12:00:00+02:00", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00");
    expect("hourly", "2026-03-29T01:30:00+01:00", "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00");
    expect("hourly", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00");
    expect("hourly", "2026-10-25T02:30:00+01:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00");
    be_in("Asia/Kolkata");
    expect("hourly", "2026-03-10T12:34:56+05:30", "2026-03-10T12:00:00+05:30", "2026-03-10T13:00:00+05:30");
}

TEST_F(ScheduleTest, TimesFromTheEpochOn)
{
    be_in("Europe/Berlin");
    expect("15m", "2026-03-10T12:34:56Z", "2026-03-10T12:30:00Z", "2026-03-10T12:45:00Z");
    expect("1s", "2026-03-10T12:34:56Z", "2026-03-10T12:34:56Z", "2026-03-10T12:34:57Z");
}

} // namespace
} // namespace coppice::instance
