#include "byte_stream.h"
#include "coppice/import/acl_text.h"
#include "coppice/import/remote.h"
#include "coppice/test/child.h"
#include "partition_table.h"
#include "program.h"
#include "support.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

namespace coppice::imports {
namespace {

using namespace coppice::imports::test;

ReadDisk reader_of(const std::string& disk)
{
    return [&disk](std::uint64_t offset, std::size_t bytes) -> Result<std::string> {
        return offset >= disk.size() ? std::string{} : disk.substr(offset, bytes);
    };
}

template <typename T> void put(std::string& disk, std::size_t at, T value)
{
    std::memcpy(disk.data() + at, &value, sizeof value);
}

void put_entry(std::string& disk, std::size_t sector, std::size_t index, std::uint8_t type, std::uint32_t first,
               std::uint32_t count)
{
    const std::size_t at = sector * 512 + 446 + 16 * index;
    put<std::uint8_t>(disk, at + 4, type);
    put<std::uint32_t>(disk, at + 8, first);
    put<std::uint32_t>(disk, at + 12, count);
    put<std::uint16_t>(disk, sector * 512 + 510, 0xAA55);
}

std::string mbr_disk()
{
    std::string disk(200 * 512, '\0');
    put_entry(disk, 0, 0, 0x83, 10, 20);
    put_entry(disk, 0, 1, 0x05, 100, 100);
    put_entry(disk, 100, 0, 0x83, 1, 9);
    put_entry(disk, 100, 1, 0x05, 50, 50);
    put_entry(disk, 150, 0, 0x0B, 2, 3);
    return disk;
}

std::uint32_t sum_of(std::string_view bytes)
{
    return static_cast<std::uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<unsigned>(bytes.size())));
}

std::string gpt_disk()
{
    std::string disk(200 * 512, '\0');
    put_entry(disk, 0, 0, 0xEE, 1, 199);
    disk.replace(1024 + 128, 16, "\xAF\x3D\xC6\x0F\x83\x84\x72\x47\x8E\x79\x3D\x69\xD8\x47\x7D\xE4", 16);
    put<std::uint64_t>(disk, 1024 + 128 + 32, 64);
    put<std::uint64_t>(disk, 1024 + 128 + 40, 127);
    disk.replace(512, 8, "EFI PART");
    put<std::uint32_t>(disk, 512 + 12, 92);
    put<std::uint64_t>(disk, 512 + 72, 2);
    put<std::uint32_t>(disk, 512 + 80, 4);
    put<std::uint32_t>(disk, 512 + 84, 128);
    put<std::uint32_t>(disk, 512 + 88, sum_of(std::string_view{disk}.substr(1024, 512)));
    put<std::uint32_t>(disk, 512 + 16, sum_of(std::string_view{disk}.substr(512, 92)));
    return disk;
}

TEST(PartitionTest, MbrWithLogicalPartitions)
{
    const auto disk = mbr_disk();
    const auto found = value_of(read_partitions(reader_of(disk), disk.size()));
    ASSERT_EQ(found.size(), 3U);
    EXPECT_EQ(found[0].offset, 10U * 512);
    EXPECT_EQ(found[1].number, 5U);
    EXPECT_EQ(found[1].offset, 101U * 512);
    EXPECT_EQ(found[2].offset, 152U * 512);
    EXPECT_FALSE(found[2].linux_data);
}

TEST(PartitionTest, Gpt)
{
    auto disk = gpt_disk();
    const auto found = value_of(read_partitions(reader_of(disk), disk.size()));
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].number, 2U);
    EXPECT_EQ(found[0].offset, 64U * 512);
    EXPECT_EQ(found[0].bytes, 64U * 512);
    EXPECT_TRUE(found[0].linux_data);
    disk[1024 + 128 + 41] ^= 1;
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "sum", read_partitions(reader_of(disk), disk.size())));
}

TEST(PartitionTest, HostileTablesAreRefused)
{
    auto disk = mbr_disk();
    put_entry(disk, 0, 0, 0x83, 10, 0xFFFFFFFF);
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "partition 1", read_partitions(reader_of(disk), disk.size())));
    disk = mbr_disk();
    put_entry(disk, 150, 1, 0x05, 50, 50); // a circle
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "too many", read_partitions(reader_of(disk), disk.size())));
    EXPECT_TRUE(value_of(read_partitions(reader_of(std::string(1024, 'x')), 1024)).empty());
}

TEST(AclTextTest, FormsAndErrors)
{
    EXPECT_EQ(value_of(parse_acl_text("user::rwx\ngroup::r-x\nother::---\n")).size(), kLeastAclBytes);
    const auto acl = value_of(parse_acl_text("user::rwx,group::r-x,group:staff:rw-:50,user:7:r--,mask:rwx,other:---"));
    ASSERT_EQ(acl.size(), 4U + 6 * 8);
    EXPECT_EQ(acl.substr(0, 12), (std::string{"\2\0\0\0\1\0\7\0\xFF\xFF\xFF\xFF", 12}));
    EXPECT_EQ(acl.substr(12, 8), (std::string{"\2\0\4\0\7\0\0\0", 8}));
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "lisa",
                         parse_acl_text("user::rwx,user:lisa:rwx,group::---,mask::rwx,other::---")));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "not whole", parse_acl_text("user::rwx,other::---")));
    EXPECT_TRUE(
        fails_as(ErrorKind::Corrupt, "not whole", parse_acl_text("user::rwx,user:1:r--,group::---,other::---")));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "doubles",
                         parse_acl_text("user::rwx,user:1:r--,user:1:r--,group::---,mask::r--,other::---")));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "entry", parse_acl_text("user::rwq,group::---,other::---")));
}

class ProgramTest : public testing::Test, protected ImportFixture {};

TEST_F(ProgramTest, LastWordsAndStatusAreTold)
{
    EXPECT_TRUE(succeeds(run_program({.arguments = {"true"}}, context)));
    EXPECT_TRUE(fails_as(ErrorKind::Os, "sh ended with 3: two",
                         run_program({.arguments = {"sh", "-c", "echo one >&2; echo two >&2; exit 3"}}, context)));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "install the package things",
                         run_program({.arguments = {"no-such-program"}, .package = "things"}, context)));
}

/// A shell that ignores what asks it to end, and a child that does, too. Their numbers are in the file "pids".
std::vector<std::string> stubborn(const std::string& pids, const std::string& end)
{
    return {"sh", "-c",
            cat("trap '' TERM; sleep 100 & echo $! $$ >", pids, ".new; mv ", pids, ".new ", pids, "; ", end)};
}

/// Also when nobody has waited for it yet.
bool is_gone(const std::string& pid)
{
    std::ifstream status{cat("/proc/", pid, "/status")};
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("State:")) return line.find('Z') != std::string::npos;
    return true;
}

bool all_gone(const std::string& pids)
{
    std::ifstream file{pids};
    std::string child, shell;
    if (!(file >> child >> shell)) return false;
    return coppice::test::wait_until([&] { return is_gone(child) && is_gone(shell); }, 2000);
}

TEST_F(ProgramTest, AStopEndsItWithItsChildren)
{
    std::stop_source stop;
    context.stop = stop.get_token();
    const std::jthread stopper{[&] {
        (void)coppice::test::wait_until([&] { return os::exists(directory.fd(), "pids"); });
        stop.request_stop();
    }};
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped",
                         run_program({.arguments = stubborn(directory / "pids", "wait; sleep 100"),
                                      .grace = std::chrono::milliseconds{100}},
                                     context)));
    EXPECT_TRUE(all_gone(directory / "pids"));
}

TEST_F(ProgramTest, WhatItLeavesBehindEndsWithIt)
{
    EXPECT_TRUE(succeeds(run_program({.arguments = stubborn(directory / "pids", "exit 0")}, context)));
    EXPECT_TRUE(all_gone(directory / "pids"));
}

TEST_F(ProgramTest, AWatchEndsIt)
{
    int asked = 0;
    const auto watch = [&]() -> Result<> {
        if (++asked < 3) return {};
        return fail(ErrorKind::Unavailable, "too much");
    };
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "too much",
                         run_program({.arguments = {"sleep", "100"}, .watch = watch}, context)));
}

TEST_F(ProgramTest, ASilentPipeHearsAStop)
{
    std::stop_source stop;
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const os::Fd writing{ends[1]};
    FileStream stream{os::Fd{ends[0]}, "pipe", stop.get_token()};
    const std::jthread stopper{[&] {
        std::this_thread::sleep_for(std::chrono::milliseconds{50});
        stop.request_stop();
    }};
    char byte = 0;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped", stream.read({&byte, 1})));
}

TEST_F(ProgramTest, WordsThatCouldBeOptionsAreRefused)
{
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "image reference", import_registry("-x", {}, context)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "image reference", import_registry("a b", {}, context)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "host", import_machine("-oProxyCommand=id", {"/"}, context)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "suite", import_suite("debian", "--help", "", context)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "absolute", import_machine("", {"/a/../.."}, context)));
}

} // namespace
} // namespace coppice::imports
