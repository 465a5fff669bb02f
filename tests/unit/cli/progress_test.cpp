#include "progress.h"

#include <gtest/gtest.h>

namespace coppice::cli {
namespace {

TEST(ProgressLineTest, SaysWhatIsKnown)
{
    EXPECT_EQ(progress_line({}, 0, 0), "");
    EXPECT_EQ(progress_line({.stage = "reading"}, 0, 0), "reading");
    EXPECT_EQ(progress_line({.done = 5, .unit = "files", .stage = "reading"}, 2, 0), "reading  5 files  2 files/s");
    EXPECT_EQ(progress_line({.done = 512, .total = 2048, .unit = "bytes", .stage = "s"}, 512, 0),
              "s   25 %  512 B of 2 KiB  512 B/s  3s left");
    EXPECT_EQ(progress_line({.done = 1, .total = 7201, .unit = "", .stage = ""}, 1, 0),
              "    0 %  1 of 7201  1/s  2h0m left");
}

TEST(ProgressLineTest, DrawsABarWhereThereIsRoom)
{
    const api::Progress half{.done = 1, .total = 2, .unit = "files", .stage = "x"};
    EXPECT_EQ(progress_line(half, 0, 80), "x [####################....................]   50 %  1 files of 2 files");
    EXPECT_EQ(progress_line(half, 0, 30), "x   50 %  1 files of 2 files");
    for (std::size_t columns = 1; columns < 200; ++columns)
        EXPECT_LT(progress_line(half, 123, columns).size(), columns);
}

TEST(ProgressLineTest, BelievesNothing)
{
    EXPECT_EQ(progress_line({.done = UINT64_MAX, .total = 1, .unit = "", .stage = "a\x1b[2J\n"}, 0, 0),
              "a?[2J\\n  100 %  1 of 1");
    const auto line =
        progress_line({.done = UINT64_MAX - 1, .total = UINT64_MAX, .unit = "bytes", .stage = ""}, 1e300, 80);
    EXPECT_LT(line.size(), 80U);
}

} // namespace
} // namespace coppice::cli
