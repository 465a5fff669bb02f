#include "coppice/base/id.h"

#include "coppice/test/expect.h"

#include <set>

namespace coppice {
namespace {

using test::fails_as;
using test::succeeds;
using namespace std::string_literals;

TEST(NameTest, GoodNames)
{
    for (const auto& name : {"a"s, "0"s, "_"s, "web-1"s, "Web.2+x_y"s, "a.."s, std::string(kNameMaxBytes, 'n')})
        EXPECT_TRUE(succeeds(check_name(name))) << name;
}

TEST(NameTest, WhatCouldBeAPathOrAnOptionIsRefused)
{
    for (const auto& name : {""s,
                             "."s,
                             ".."s,
                             "../x"s,
                             "a/b"s,
                             "/"s,
                             "-a"s,
                             ".a"s,
                             "+a"s,
                             "a b"s,
                             "a\n"s,
                             "a\0b"s,
                             "\0"s,
                             "a:b"s,
                             "a@b"s,
                             "\xc3\xa9"s,
                             "a\\b"s,
                             "a*"s,
                             std::string(kNameMaxBytes + 1, 'n'),
                             std::string(1U << 20, 'n')})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", check_name(name))) << name.substr(0, 100);
}

TEST(NameTest, RandomHexDiffersAndIsHex)
{
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const std::string hex = random_hex(16);
        EXPECT_EQ(hex.size(), 16U);
        EXPECT_EQ(hex.find_first_not_of("0123456789abcdef"), std::string::npos) << hex;
        seen.insert(hex);
    }
    EXPECT_EQ(seen.size(), 100U);
}

} // namespace
} // namespace coppice
