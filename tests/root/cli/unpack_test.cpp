// Where `coppice cp` puts what comes out of a snapshot, with the real tar.

#include "unpack.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <coppice/test/expect.h>
#include <coppice/test/needs.h>
#include <coppice/test/temp_dir.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <sys/stat.h>

namespace coppice::cli {
namespace {

std::string octal(std::uint64_t value, int digits)
{
    std::array<char, 24> text{};
    std::snprintf(text.data(), text.size(), "%0*llo", digits, static_cast<unsigned long long>(value));
    return text.data();
}

/// One entry of a ustar archive, owned by user 33.
std::string entry(char type, const std::string& name, unsigned mode, const std::string& content = "")
{
    std::string block(512, '\0');
    const auto put = [&block](std::size_t at, const std::string& text) { block.replace(at, text.size(), text); };
    put(0, name);
    put(100, octal(mode, 7));
    put(108, octal(33, 7));
    put(116, octal(33, 7));
    put(124, octal(content.size(), 11));
    put(136, octal(1, 11));
    put(148, "        ");
    block[156] = type;
    put(257, "ustar");
    put(263, "00");
    put(329, octal(1, 7)); // device 1:3, the null device
    put(337, octal(3, 7));
    unsigned sum = 0;
    for (const char c : block)
        sum += static_cast<unsigned char>(c);
    put(148, octal(sum, 6));
    block[154] = '\0';
    return block + content + std::string((512 - content.size() % 512) % 512, '\0');
}

const std::string kEnd(1024, '\0');
const std::string kFile = entry('0', "passwd", 04755, "root\n") + kEnd;
const std::string kTree = entry('5', "etc/", 0750) + entry('0', "etc/passwd", 0644, "root\n") + kEnd;

struct stat status_of(const std::string& path)
{
    struct stat status{};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
}

class UnpackTest : public testing::Test {
protected:
    Result<> unpack(std::string_view source, const std::string& to, std::string_view archive, bool all = false)
    {
        auto unpacker = TRY(Unpacker::open(copy_source(source), {.path = directory_ / to, .archive = all}));
        for (std::size_t at = 0; at < archive.size(); at += 300) // in pieces, as it comes
            TRY(unpacker.take(archive.substr(at, 300)));
        return unpacker.finish();
    }
    /// Nothing but what was asked for, no staging directory either.
    void expect_names(const std::string& where, std::vector<std::string> expected)
    {
        auto names = test::value_of(os::list_directory(os::kCwd, directory_ / where));
        std::sort(names.begin(), names.end());
        EXPECT_EQ(names, expected);
    }
    test::TempDir directory_;
};

TEST_F(UnpackTest, AFileGetsTheNameOrGoesInto)
{
    EXPECT_TRUE(test::succeeds(unpack("/etc/passwd", "new", kFile)));
    EXPECT_EQ(directory_.read("new"), "root\n");
    directory_.write("old", "before");
    EXPECT_TRUE(test::succeeds(unpack("/etc/passwd", "old", kFile)));
    EXPECT_EQ(directory_.read("old"), "root\n");
    directory_.make_directory("into");
    EXPECT_TRUE(test::succeeds(unpack("/etc/passwd", "into", kFile)));
    EXPECT_EQ(directory_.read("into/passwd"), "root\n");
    expect_names(".", {"into", "new", "old"});
}

TEST_F(UnpackTest, ADirectoryGetsTheNameOrGoesIntoOrItsContentsDo)
{
    EXPECT_TRUE(test::succeeds(unpack("/etc", "new", kTree)));
    EXPECT_EQ(directory_.read("new/passwd"), "root\n");
    directory_.make_directory("into");
    EXPECT_TRUE(test::succeeds(unpack("/etc", "into", kTree)));
    expect_names("into", {"etc"});
    directory_.make_directory("contents");
    EXPECT_TRUE(test::succeeds(unpack("/etc/.", "contents", kTree)));
    expect_names("contents", {"passwd"});
    expect_names(".", {"contents", "into", "new"});
}

TEST_F(UnpackTest, TheRootIsItsContents)
{
    const auto archive = entry('5', "./", 0755) + entry('5', "./etc/", 0755) + kEnd;
    EXPECT_TRUE(test::succeeds(unpack("/", "new", archive)));
    expect_names("new", {"etc"});
    expect_names(".", {"new"});
}

TEST_F(UnpackTest, CopiesAreOursAndHarmless)
{
    COPPICE_NEEDS(Root);
    EXPECT_TRUE(test::succeeds(unpack("/bin/x", "new", kFile)));
    EXPECT_EQ(status_of(directory_ / "new").st_uid, 0U);
    EXPECT_EQ(status_of(directory_ / "new").st_mode & 07000U, 0U);
    EXPECT_TRUE(test::succeeds(unpack("/bin/x", "all", kFile, true)));
    EXPECT_EQ(status_of(directory_ / "all").st_uid, 33U);
    EXPECT_EQ(status_of(directory_ / "all").st_mode & 07777U, 04755U);
}

TEST_F(UnpackTest, MakesNoDeviceNodes)
{
    COPPICE_NEEDS(Root);
    directory_.make_directory("into");
    const auto archive = entry('5', "dev/", 0755) + entry('3', "dev/null", 0666) + kEnd;
    EXPECT_TRUE(test::fails_as(ErrorKind::Os, "device nodes", unpack("/dev", "new", archive)));
    EXPECT_TRUE(test::fails_as(ErrorKind::Os, "device nodes", unpack("/dev", "into", archive)));
    EXPECT_FALSE(directory_.exists("into/dev/null"));
    expect_names(".", {"into"});
}

TEST_F(UnpackTest, WhatIsNotWholeLeavesNothing)
{
    EXPECT_TRUE(test::fails_as(ErrorKind::Os, "tar failed", unpack("/etc", "new", kTree.substr(0, 1100))));
    EXPECT_TRUE(test::fails_as(ErrorKind::Corrupt, "no tar archive", unpack("/etc", "new", "")));
    EXPECT_TRUE(test::fails_as(ErrorKind::Corrupt, "no tar archive", unpack("/etc", "new", std::string(1024, 'x'))));
    {
        auto unpacker = test::value_of(Unpacker::open(copy_source("/etc"), {.path = directory_ / "new"}));
        EXPECT_TRUE(test::succeeds(unpacker.take(kTree.substr(0, 600)))); // and the connection breaks
    }
    expect_names(".", {});
}

} // namespace
} // namespace coppice::cli
