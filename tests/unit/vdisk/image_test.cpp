#include "coppice/vdisk/image.h"

#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <filesystem>
#include <sys/stat.h>

namespace coppice::vdisk {
namespace {

using test::fails_as;
using test::succeeds;
using test::value_of;

void put(std::string& bytes, std::size_t offset, std::uint32_t value)
{
    for (std::size_t i = 0; i < 4; ++i)
        bytes[offset + i] = static_cast<char>(value >> (8 * i));
}

/// Header of an image with this geometry. Source: the kernel's struct erofs_super_block
std::string header(unsigned block_bits, std::uint32_t blocks)
{
    std::string bytes(kErofsHeaderBytes, '\0');
    put(bytes, 1024, 0xE0F5E1E2);
    bytes[1024 + 12] = static_cast<char>(block_bits);
    put(bytes, 1024 + 36, blocks);
    return bytes;
}

TEST(ErofsSuperblockTest, Geometry)
{
    const auto superblock = value_of(parse_erofs_superblock(header(12, 256)));
    EXPECT_EQ(superblock.block_bytes, 4096U);
    EXPECT_EQ(superblock.blocks, 256U);
    EXPECT_EQ(value_of(parse_erofs_superblock(header(9, 1))).block_bytes, 512U);
    EXPECT_EQ(value_of(parse_erofs_superblock(header(16, UINT32_MAX))).blocks, UINT32_MAX);
    EXPECT_TRUE(succeeds(parse_erofs_superblock(header(12, 1) + std::string(5000, 'x'))));
}

TEST(ErofsSuperblockTest, NoMagic)
{
    std::string bytes = header(12, 1);
    bytes[1024] = static_cast<char>(bytes[1024] ^ 1);
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "neither a directory nor an EROFS image", parse_erofs_superblock(bytes)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_erofs_superblock(std::string(kErofsHeaderBytes, '\0'))));
    bytes = header(12, 1);
    std::swap(bytes[1024], bytes[1027]); // big-endian
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_erofs_superblock(bytes)));
}

TEST(ErofsSuperblockTest, Truncated)
{
    const std::string bytes = header(12, 1);
    for (const std::size_t size :
         {std::size_t{0}, std::size_t{1}, std::size_t{1024}, std::size_t{1028}, kErofsHeaderBytes - 1})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_erofs_superblock(bytes.substr(0, size)))) << size;
}

TEST(ErofsSuperblockTest, ImpossibleBlockSizes)
{
    for (const unsigned bits : {0U, 8U, 17U, 64U, 255U})
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "damaged", parse_erofs_superblock(header(bits, 1)))) << bits;
}

TEST(ImageTest, ADirectory)
{
    const test::TempDir directory;
    directory.make_directory("root");
    std::filesystem::create_directory_symlink("root", directory / "link");
    const auto image = value_of(Image::open(directory / "link"));
    EXPECT_EQ(image.kind(), Image::Kind::Directory);
    EXPECT_EQ(image.path(), std::filesystem::canonical(directory / "root").string());
}

TEST(ImageTest, AnImageFile)
{
    const test::TempDir directory;
    std::string bytes = header(12, 2);
    bytes.resize(2 * 4096);
    directory.write("image", bytes);
    const auto image = value_of(Image::open(directory / "image"));
    EXPECT_EQ(image.kind(), Image::Kind::Erofs);
}

TEST(ImageTest, CutShort)
{
    const test::TempDir directory;
    std::string bytes = header(12, 2);
    bytes.resize(2 * 4096 - 1);
    directory.write("image", bytes);
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "cut short: 8191 of 8192 bytes", Image::open(directory / "image")));
    directory.write("large", header(16, UINT32_MAX)); // no overflow of blocks times block size
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "of 281474976645120 bytes", Image::open(directory / "large")));
}

TEST(ImageTest, WhatIsNeither)
{
    const test::TempDir directory;
    directory.write("text", "hello");
    directory.write("empty", "");
    ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
    for (const char* const name : {"text", "empty", "fifo"}) {
        EXPECT_TRUE(
            fails_as(ErrorKind::Invalid, "neither a directory nor an EROFS image", Image::open(directory / name)))
            << name;
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "mkfs.erofs", Image::open(directory / name))) << name;
    }
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "neither", Image::open("/dev/null")));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, directory / "missing", Image::open(directory / "missing")));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "", Image::open("")));
    EXPECT_FALSE(Image::open(directory / "text/below"));
}

} // namespace
} // namespace coppice::vdisk
