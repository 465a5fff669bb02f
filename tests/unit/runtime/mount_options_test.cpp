#include "mount_options.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace coppice::runtime {
namespace {

using namespace os::mount_attr;

MountOptions parse(const std::vector<std::string>& options, bool is_bind_type = false)
{
    return parse_mount_options(options, is_bind_type);
}

struct Expected {
    const char* word;
    std::uint64_t set, clear;
};

constexpr Expected kFlags[] = {
    {"ro", kReadOnly, 0},
    {"rw", 0, kReadOnly},
    {"nosuid", kNoSuid, 0},
    {"suid", 0, kNoSuid},
    {"nodev", kNoDev, 0},
    {"dev", 0, kNoDev},
    {"noexec", kNoExec, 0},
    {"exec", 0, kNoExec},
    {"noatime", kNoAtime, kAtimeMask & ~kNoAtime},
    {"atime", 0, kAtimeMask},
    {"relatime", 0, kAtimeMask},
    {"norelatime", 0, kAtimeMask},
    {"strictatime", kStrictAtime, kAtimeMask & ~kStrictAtime},
    {"nostrictatime", 0, kAtimeMask},
    {"nodiratime", kNoDirAtime, 0},
    {"diratime", 0, kNoDirAtime},
    {"nosymfollow", kNoSymFollow, 0},
    {"symfollow", 0, kNoSymFollow},
};

TEST(MountOptionsTest, EveryFlag)
{
    for (const Expected& flag : kFlags) {
        const auto parsed = parse({flag.word});
        EXPECT_EQ(parsed.set, flag.set) << flag.word;
        // The time-stamp field as a whole may be cleared before it is set.
        EXPECT_EQ(parsed.clear & ~flag.set, flag.clear) << flag.word;
        EXPECT_EQ(parsed.recursive_set | parsed.recursive_clear, 0U) << flag.word;
        EXPECT_TRUE(parsed.parameters.empty()) << flag.word;
    }
}

TEST(MountOptionsTest, EveryFlagRecursively)
{
    for (const Expected& flag : kFlags) {
        const auto parsed = parse({std::string{"r"} + flag.word});
        EXPECT_EQ(parsed.recursive_set, flag.set) << flag.word;
        EXPECT_EQ(parsed.recursive_clear & ~flag.set, flag.clear) << flag.word;
        EXPECT_EQ(parsed.set | parsed.clear, 0U) << flag.word;
        EXPECT_TRUE(parsed.parameters.empty()) << flag.word;
    }
}

TEST(MountOptionsTest, TimeStampModesReplaceEachOther)
{
    // The kernel refuses to set a mode without clearing the whole field. Source: mount_setattr(2), EINVAL
    for (const char* const word : {"noatime", "strictatime"})
        EXPECT_EQ(parse({word}).clear & kAtimeMask, kAtimeMask) << word;
    EXPECT_EQ(parse({"noatime", "strictatime"}).set, kStrictAtime);
    EXPECT_EQ(parse({"noatime", "relatime"}).set, 0U);
    EXPECT_NE(parse({"relatime"}).clear & kNoAtime, 0U);
}

TEST(MountOptionsTest, TheLastOfTwoOpposedFlagsHolds)
{
    EXPECT_EQ(parse({"ro", "rw"}).set, 0U);
    EXPECT_EQ(parse({"ro", "rw"}).clear, kReadOnly);
    EXPECT_EQ(parse({"rw", "ro"}).set, kReadOnly);
    EXPECT_EQ(parse({"rw", "ro"}).clear, 0U);
    EXPECT_EQ(parse({"ro", "nosuid", "nodev", "noexec"}).set, kReadOnly | kNoSuid | kNoDev | kNoExec);
}

TEST(MountOptionsTest, Propagation)
{
    const std::pair<const char*, std::uint64_t> words[] = {
        {"private", MS_PRIVATE}, {"slave", MS_SLAVE}, {"shared", MS_SHARED}, {"unbindable", MS_UNBINDABLE}};
    for (const auto& [word, flag] : words) {
        EXPECT_EQ(parse({word}).propagation, flag) << word;
        EXPECT_FALSE(parse({word}).recursive_propagation) << word;
        EXPECT_EQ(parse({std::string{"r"} + word}).propagation, flag) << word;
        EXPECT_TRUE(parse({std::string{"r"} + word}).recursive_propagation) << word;
    }
    EXPECT_EQ(parse({}).propagation, 0U);
}

TEST(MountOptionsTest, Bind)
{
    EXPECT_TRUE(parse({"bind"}).bind);
    EXPECT_FALSE(parse({"bind"}).recursive_bind);
    EXPECT_TRUE(parse({"rbind"}).bind);
    EXPECT_TRUE(parse({"rbind"}).recursive_bind);
    EXPECT_FALSE(parse({"ro"}).bind);
    EXPECT_TRUE(parse({"ro"}, true).bind) << "type bind without an option is a bind mount too";
    EXPECT_FALSE(parse({"bind"}, true).recursive_bind);
}

TEST(MountOptionsTest, IdMapAndCopyUp)
{
    EXPECT_TRUE(parse({"idmap"}).id_map);
    EXPECT_FALSE(parse({"idmap"}).recursive_id_map);
    EXPECT_TRUE(parse({"ridmap"}).id_map);
    EXPECT_TRUE(parse({"ridmap"}).recursive_id_map);
    EXPECT_TRUE(parse({"tmpcopyup"}).copy_up);
}

TEST(MountOptionsTest, WhatMeansNothingIsPassedOver)
{
    const auto parsed = parse({"defaults", "async", "nomand", "noiversion", "silent", "loud", ""}, true);
    EXPECT_EQ(parsed.set | parsed.clear | parsed.propagation, 0U);
    EXPECT_TRUE(parsed.parameters.empty());
}

TEST(MountOptionsTest, OtherOptionsGoToTheFileSystem)
{
    const auto parsed = parse({"mode=755", "size=65536k", "newinstance", "upperdir=/a=b"});
    const os::FsParameters expected{{"mode", "755"}, {"size", "65536k"}, {"newinstance", ""}, {"upperdir", "/a=b"}};
    EXPECT_EQ(parsed.parameters, expected);
    EXPECT_EQ(parse({"r"}).parameters, (os::FsParameters{{"r", ""}}));
}

TEST(MountOptionsTest, ABindMountTakesNoFileSystemOptions)
{
    EXPECT_TRUE(parse({"bind", "mode=755", "size=1"}).parameters.empty());
    EXPECT_TRUE(parse({"RO", "mode=755"}, true).parameters.empty());
    EXPECT_EQ(parse({"mode=755", "ro", "rbind"}).set, kReadOnly) << "the general ones hold";
}

} // namespace
} // namespace coppice::runtime
