#include "mountinfo.h"

#include <gtest/gtest.h>

namespace coppice::os {
namespace {

TEST(MountinfoTest, FieldsAndOptionalOnes)
{
    const auto mounts =
        parse_mountinfo("25 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw,errors=continue\n"
                        "31 25 0:26 /below /mnt rw - proc proc rw\n");
    ASSERT_EQ(mounts.size(), 2U);
    EXPECT_EQ(mounts[0].type, "ext4");
    EXPECT_EQ(mounts[0].options, "rw,errors=continue");
    EXPECT_EQ(mounts[1].root, "/below");
    EXPECT_EQ(mounts[1].point, "/mnt");
    EXPECT_EQ(mounts[1].type, "proc");
}

TEST(MountinfoTest, NoLineOfAnotherForm)
{
    EXPECT_TRUE(parse_mountinfo("\n1 2 3\n - \n1 2 3 4 5 6 7 8 9\n1 2 0:3 / /x rw - type\n").empty());
}

TEST(MountinfoTest, BlanksInPaths)
{
    EXPECT_EQ(unescape_mount("/a\\040b\\134c\\011d\\012"), "/a b\\c\td\n");
    EXPECT_EQ(unescape_mount("/a\\04"), "/a\\04");
    EXPECT_EQ(unescape_mount("\\x41"), "\\x41");
    for (const char* const plain : {"\\0x0", "\\04x", "\\080", "\\008", "\\400"})
        EXPECT_EQ(unescape_mount(plain), plain);
}

} // namespace
} // namespace coppice::os
