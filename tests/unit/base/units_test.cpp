#include "coppice/base/units.h"

#include "coppice/test/expect.h"

#include <cstdint>

namespace coppice {
namespace {

using test::fails_as;
using test::value_of;

TEST(UnitsTest, BytesWithEveryUnit)
{
    const std::pair<const char*, std::uint64_t> good[] = {
        {"0", 0},
        {"1048576", 1048576},
        {"512b", 512},
        {"1k", 1024},
        {"64m", 64ULL << 20},
        {"64M", 64ULL << 20},
        {"10MiB", 10ULL << 20},
        {"10mb", 10ULL << 20},
        {"1.5g", 3ULL << 29},
        {"2t", 2ULL << 40},
        {"0.5k", 512},
        {"1.0009765625k", 1025},
        {"8388607t", 8388607ULL << 40}, // the largest whole number of them below 2^63
    };
    for (const auto& [text, bytes] : good)
        EXPECT_EQ(value_of(parse_bytes(text)), bytes) << text;
}

TEST(UnitsTest, BytesRefused)
{
    for (const char* const text : {"",
                                   "-1",
                                   "+1",
                                   " 1",
                                   "1 ",
                                   "m",
                                   ".5m",
                                   "1x",
                                   "1mm",
                                   "1bb",
                                   "1bib",
                                   "1e3",
                                   "0x10",
                                   "inf",
                                   "nan",
                                   "1kib2",
                                   "8388608t",
                                   "9223372036854775808",
                                   "99999999999999999999999",
                                   "1k b"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_bytes(text))) << text;
}

TEST(UnitsTest, BytesAreExactBelowTwoToThe53)
{
    EXPECT_EQ(value_of(parse_bytes("9007199254740991")), 9007199254740991ULL);
}

TEST(UnitsTest, BytesShownShort)
{
    EXPECT_EQ(format_bytes(0), "0 B");
    EXPECT_EQ(format_bytes(512), "512 B");
    EXPECT_EQ(format_bytes(1023), "1023 B");
    EXPECT_EQ(format_bytes(1024), "1 KiB");
    EXPECT_EQ(format_bytes(64ULL << 20), "64 MiB");
    EXPECT_EQ(format_bytes(3ULL << 29), "1.5 GiB");
    EXPECT_EQ(format_bytes(UINT64_MAX), "16 EiB");
}

TEST(UnitsTest, Cpus)
{
    EXPECT_EQ(value_of(parse_millicpus("0.5")), 500U);
    EXPECT_EQ(value_of(parse_millicpus("2")), 2000U);
    EXPECT_EQ(value_of(parse_millicpus("1.25")), 1250U);
    EXPECT_EQ(value_of(parse_millicpus("0.001")), 1U);
    EXPECT_EQ(value_of(parse_millicpus("1000000")), 1'000'000'000U);
    for (const char* const text : {"", "0", "0.0001", "-1", "1000001", "1,5", "two", "1e3", "nan", "inf", "1 ", "1.5c"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_millicpus(text))) << text;
}

TEST(UnitsTest, Durations)
{
    EXPECT_EQ(value_of(parse_duration_ms("5s")), 5000);
    EXPECT_EQ(value_of(parse_duration_ms("1m30.5s")), 90'500);
    EXPECT_EQ(value_of(parse_duration_ms("250ms")), 250);
    EXPECT_EQ(value_of(parse_duration_ms("1us")), 0);
    EXPECT_EQ(value_of(parse_duration_ms("1.5h")), 5'400'000);
    for (const char* const text : {"", "5", "s", "-1s", "5 s", "5d", "1e9s", "99999999999h", "5s3"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_duration_ms(text))) << text;
}

TEST(UnitsTest, Integers)
{
    EXPECT_EQ(value_of(parse_integer("9223372036854775807", INT64_MIN, INT64_MAX)), INT64_MAX);
    EXPECT_EQ(value_of(parse_integer("-9223372036854775808", INT64_MIN, INT64_MAX)), INT64_MIN);
    EXPECT_EQ(value_of(parse_integer("007", 0, 10)), 7);
    EXPECT_EQ(value_of(parse_integer("10", 0, 10)), 10);
    for (const char* const text : {"", "11", "-1", "+1", " 1", "1 ", "1x", "0x1", "1.0", "9223372036854775808",
                                   "99999999999999999999", "-", "1\n"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "from 0 to 10", parse_integer(text, 0, 10))) << text;
}

} // namespace
} // namespace coppice
