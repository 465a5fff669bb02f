#include "coppice/os/id_map.h"

#include "coppice/test/expect.h"

namespace coppice::os {
namespace {

using test::fails_as;
using test::succeeds;

TEST(IdMapTest, GoodMaps)
{
    EXPECT_TRUE(succeeds(check_id_map({{0, 100000, 65536}})));
    EXPECT_TRUE(succeeds(check_id_map({{0, 1000, 1}, {1, 100000, 65535}}))); // neighbours
    EXPECT_TRUE(succeeds(check_id_map({{0, 0, UINT32_MAX}})));               // all but the kernel's "no id"
    EXPECT_TRUE(succeeds(check_id_map({{10, 20, 5}, {0, 0, 10}})));          // any order
}

TEST(IdMapTest, EmptyAndWrappingRanges)
{
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "no range", check_id_map({})));
    EXPECT_FALSE(check_id_map({{0, 0, 0}}));
    EXPECT_FALSE(check_id_map({{0, 0, 10}, {20, 20, 0}}));
    EXPECT_FALSE(check_id_map({{1, 0, UINT32_MAX}}));
    EXPECT_FALSE(check_id_map({{0, 1, UINT32_MAX}}));
    EXPECT_FALSE(check_id_map({{0, UINT32_MAX, 1}}));
    EXPECT_FALSE(check_id_map({{4000000000U, 0, 4000000000U}}));
}

TEST(IdMapTest, OverlapsOnEitherSide)
{
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "overlap", check_id_map({{0, 1000, 10}, {9, 2000, 10}})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "overlap", check_id_map({{0, 1000, 10}, {10, 1009, 10}})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "overlap", check_id_map({{0, 0, 100}, {200, 50, 1}})));
}

TEST(IdMapTest, AtMost340Ranges)
{
    IdMap map;
    for (std::uint32_t i = 0; i < 340; ++i)
        map.push_back({i * 2, i * 2, 1});
    EXPECT_TRUE(succeeds(check_id_map(map)));
    map.push_back({1000, 1000, 1});
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "340", check_id_map(map)));
}

TEST(IdMapTest, ToOutside)
{
    const IdMap map{{0, 1000, 1}, {10, 100000, 5}};
    EXPECT_EQ(to_outside(map, 0), 1000U);
    EXPECT_EQ(to_outside(map, 10), 100000U);
    EXPECT_EQ(to_outside(map, 14), 100004U);
    EXPECT_EQ(to_outside(map, 1), std::nullopt);
    EXPECT_EQ(to_outside(map, 9), std::nullopt);
    EXPECT_EQ(to_outside(map, 15), std::nullopt);
    EXPECT_EQ(to_outside({}, 0), std::nullopt);
    EXPECT_EQ(to_outside({{0, 0, UINT32_MAX}}, UINT32_MAX - 1), UINT32_MAX - 1);
}

} // namespace
} // namespace coppice::os
