// Needs: root, EROFS, loop devices, ext4 with mkfs.ext4, tar; for one test mmdebstrap.

#include "coppice/import/disk_image.h"
#include "coppice/import/import_image.h"
#include "coppice/import/remote.h"
#include "coppice/os/loop_device.h"
#include "coppice/os/mount.h"
#include "coppice/store/blob.h"
#include "coppice/test/child.h"
#include "coppice/test/needs.h"
#include "coppice/vdisk/read_tree.h"
#include "debian_root.h"
#include "layer_fixture.h"
#include "support.h"

#include <gtest/gtest.h>

#include <cstring>
#include <sys/xattr.h>
#include <unistd.h>

namespace coppice::imports {
namespace {

using namespace coppice::imports::test;
using coppice::test::run_program;
using coppice::test::unpack_debian_root;
using vdisk::test::describe;

using Lines = std::map<std::string, std::string>;

class ImportRootTest : public testing::Test, protected ImportFixture {
protected:
    void SetUp() override { COPPICE_NEEDS(Root, Erofs, LoopDevices); }

    static void expect_same(const Lines& seen, const Lines& wanted)
    {
        EXPECT_EQ(seen.size(), wanted.size());
        int shown = 0;
        for (const auto& [path, line] : wanted) {
            const auto found = seen.find(path);
            const std::string there = found == seen.end() ? "nothing" : found->second;
            if (there != line && ++shown < 5)
                ADD_FAILURE() << path << "\n  is      " << there << "\n  and not " << line;
        }
    }
    [[nodiscard]] Lines lines_of(const std::string& path) const
    {
        auto imported = value_of(import_directory(directory / path, context));
        return describe(imported.tree);
    }
    /// The tree that the kernel sees in an imported version.
    static Lines mounted(store::Store& store, const store::SnapshotId& id)
    {
        const auto layer = value_of(store.read([&](const store::View& view) -> Result<store::Layer> {
            return store::get_layer(view, *TRY(store::get_snapshot(view, id)).layer);
        }));
        const auto metadata = value_of(store::open_metadata(store, layer));
        const auto metadata_device = value_of(os::LoopDevice::over(metadata, "metadata"));
        os::FsParameters parameters{{"source", metadata_device.path()}, {"ro", ""}};
        std::optional<os::LoopDevice> blob_device;
        if (layer.blob_bytes > 0) {
            const auto blob = value_of(store::open_blob(store, layer));
            blob_device.emplace(value_of(os::LoopDevice::over(blob, "blob")));
            parameters.emplace_back("device", blob_device->path());
        }
        const auto mount = value_of(os::new_file_system("erofs", parameters, os::mount_attr::kReadOnly));
        auto tree = value_of(vdisk::read_tree(mount));
        return describe(tree);
    }
    /// A small tree with everything in it, below `name`.
    void make_tree(const std::string& name)
    {
        directory.make_directory(name);
        directory.write(name + "/etc/motd", "hello\n");
        directory.write(name + "/etc/empty", "");
        directory.write(name + "/usr/big", vdisk::test::noise(700'000, 7));
        const std::string root = directory / name;
        ASSERT_EQ(::symlink("../etc/motd", (root + "/usr/link").c_str()), 0);
        ASSERT_EQ(::link((root + "/etc/motd").c_str(), (root + "/usr/same").c_str()), 0);
        ASSERT_EQ(::mknod((root + "/null").c_str(), S_IFCHR | 0666, 0x103), 0);
        ASSERT_EQ(::mkfifo((root + "/fifo").c_str(), 0600), 0);
        ASSERT_EQ(::chown((root + "/etc/empty").c_str(), 70'000, 80'000), 0);
        ASSERT_EQ(::chmod((root + "/etc/empty").c_str(), 04711), 0);
        ASSERT_EQ(::setxattr((root + "/etc/motd").c_str(), "user.note", "n", 1, 0), 0);
        const os::Fd holes = value_of(os::open_at(os::kCwd, root + "/usr/holes", O_WRONLY | O_CREAT, 0600));
        ASSERT_EQ(::pwrite(holes.get(), "end", 3, 50 << 20), 3);
    }
    /// A disk with an ext4 of `tree` behind an MBR.
    void make_disk(const std::string& tree, const std::string& disk)
    {
        ASSERT_EQ(run_program({"mkfs.ext4", "-q", "-d", directory / tree, directory / "ext4", "24M"}), 0);
        std::string bytes(1 << 20, '\0');
        const std::uint32_t place[] = {2048, 49152};
        bytes[446 + 4] = '\x83';
        std::memcpy(bytes.data() + 446 + 8, place, sizeof place);
        bytes[510] = '\x55';
        bytes[511] = '\xaa';
        directory.write(disk, bytes + coppice::test::read_text(directory / "ext4"));
    }
};

TEST_F(ImportRootTest, ATarOfATreeIsTheTree)
{
    make_tree("tree");
    const auto wanted = lines_of("tree");
    for (const auto* const format : {"posix", "gnu"})
        for (const auto* const packed : {"", "--gzip"}) {
            SCOPED_TRACE(cat(format, packed));
            std::vector<std::string> words{"tar",
                                           "-C",
                                           directory / "tree",
                                           "-cSf",
                                           directory / "t.tar",
                                           "--numeric-owner",
                                           cat("--format=", format)};
            const bool posix = std::string_view{format} == "posix";
            if (posix) words.insert(words.end(), {"--xattrs", "--acls"});
            if (*packed != 0) words.emplace_back(packed);
            words.emplace_back(".");
            ASSERT_EQ(run_program(words), 0);
            auto imported =
                value_of(import_tar(value_of(os::open_at(directory.fd(), "t.tar", O_RDONLY)), "t.tar", {}, context));
            if (posix)
                expect_same(describe(imported.tree), wanted);
            else // whole seconds, no attributes
                EXPECT_EQ(describe(imported.tree).size(), wanted.size());
        }
}

TEST_F(ImportRootTest, AMachinesTreeComesAsItIs)
{
    make_tree("tree");
    auto imported = value_of(import_machine("", {directory / "tree"}, context));
    Lines seen;
    for (const auto& [path, line] : describe(imported.tree))
        if (path.starts_with(directory / "tree")) {
            const auto own = line.find(" = "); // names the first one with its whole path
            seen[path.substr((directory / "tree").size())] =
                own == std::string::npos ? line
                                         : line.substr(0, own + 3) + line.substr(own + 3 + (directory / "tree").size());
        }
    expect_same(seen, lines_of("tree"));
}

TEST_F(ImportRootTest, ADiskIsReadThroughADetachedMount)
{
    make_tree("tree");
    make_disk("tree", "disk.raw");
    const auto mounts = coppice::test::read_text("/proc/self/mounts");
    // mkfs.ext4 keeps whole seconds only, and makes the root directory itself.
    const auto in_seconds = [](Lines lines) {
        lines.erase("");
        lines.erase("/lost+found");
        for (auto& [path, line] : lines)
            if (const auto dot = line.find('.'); dot != std::string::npos) line.erase(dot, line.find(' ', dot) - dot);
        return lines;
    };
    const auto wanted = in_seconds(lines_of("tree"));
    for (const auto partition : {std::optional<unsigned>{}, std::optional{1U}}) {
        auto imported = value_of(import_disk(directory / "disk.raw", partition, context));
        EXPECT_EQ(coppice::test::read_text("/proc/self/mounts"), mounts);
        expect_same(in_seconds(describe(imported.tree)), wanted);
    }
    auto whole = value_of(import_disk(directory / "ext4", {}, context));
    EXPECT_EQ(content_of(whole.tree, "etc/motd"), "hello\n");
    EXPECT_TRUE(
        fails_as(ErrorKind::Invalid, "partition 1 (24 MiB ext4)", import_disk(directory / "disk.raw", 2, context)));
}

TEST_F(ImportRootTest, ADiskThatNamesOtherFilesIsRefused)
{
    std::string header(512, '\0');
    header.replace(0, 8, std::string_view{"QFI\xfb\0\0\0\3", 8});
    header[15] = '\x68'; // a backing file's name
    directory.write("disk.qcow2", header);
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "backing file", import_disk(directory / "disk.qcow2", {}, context)));
    header[15] = '\0';
    header[79] = '\4';
    directory.write("disk.qcow2", header);
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "external", import_disk(directory / "disk.qcow2", {}, context)));
    directory.write("disk.raw", std::string(4096, 'x'));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "neither", import_disk(directory / "disk.raw", {}, context)));
}

TEST_F(ImportRootTest, AHostileDiskHasLimits)
{
    make_tree("tree");
    make_disk("tree", "disk.raw");
    context.limits.entries = 5;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "5 entries", import_disk(directory / "disk.raw", {}, context)));
    std::stop_source stop;
    stop.request_stop();
    context.stop = stop.get_token();
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped", import_disk(directory / "disk.raw", {}, context)));
}

/// 512 MiB, of which every cluster is one and the same.
std::string bomb_of_clusters()
{
    constexpr std::size_t kCluster = 65536;
    std::string image(5 * kCluster, '\0');
    const auto put = [&](std::size_t at, std::size_t size, std::uint64_t value) { // big-endian
        for (std::size_t i = 0; i < size; ++i)
            image[at + i] = static_cast<char>(value >> (8 * (size - 1 - i)));
    };
    image.replace(0, 4, std::string_view{"QFI\xfb", 4});
    put(4, 4, 3);
    put(20, 4, 16); // 64 KiB
    put(24, 8, 512U << 20);
    put(36, 4, 1); // first table: one entry, in cluster 1
    put(40, 8, kCluster);
    put(48, 8, 4 * kCluster); // reference counts, which nobody reads
    put(56, 4, 1);
    put(96, 4, 4);
    put(100, 4, 104);
    put(kCluster, 8, 2 * kCluster);
    for (std::size_t i = 0; i < 8192; ++i)
        put(2 * kCluster + 8 * i, 8, 3 * kCluster);
    return image.replace(3 * kCluster, kCluster, kCluster, 'b');
}

TEST_F(ImportRootTest, ADiskThatUnpacksToTooMuchIsRefused)
{
    if (run_program({"qemu-img", "--version"}) != 0) GTEST_SKIP() << "needs qemu-img (qemu-utils)";
    directory.write("disk.qcow2", bomb_of_clusters());
    context.limits.free_bytes = 16U << 20;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", import_disk(directory / "disk.qcow2", {}, context)));
    EXPECT_EQ(names(), 1U) << "the image";
    context.limits.free_bytes = 1U << 30;
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "neither", import_disk(directory / "disk.qcow2", {}, context)));
}

TEST_F(ImportRootTest, ADiskThatChangesIsReadAsItWasChecked)
{
    if (run_program({"qemu-img", "--version"}) != 0) GTEST_SKIP() << "needs qemu-img (qemu-utils)";
    directory.write("disk.qcow2", bomb_of_clusters());
    directory.write("secret", std::string(1 << 20, 's'));
    context.progress = [&](const Progress& progress) {
        if (progress.stage != "unpacking the disk image" && progress.stage != "copying the disk image") return;
        // Its owner makes another one of it when it is past the checks: with a data file, which is any file.
        auto image = bomb_of_clusters();
        image[79] = '\4';
        directory.write("disk.qcow2", image);
    };
    const auto read = import_disk(directory / "disk.qcow2", {}, context);
    ASSERT_FALSE(read);
    // Either the copy was made before, or what was copied is refused; qemu-img never sees it.
    EXPECT_TRUE(read.error().line().find("neither") != std::string::npos ||
                read.error().line().find("external") != std::string::npos)
        << read.error().line();
}

TEST_F(ImportRootTest, ADebianRootComesBack)
{
    std::string archive;
    unpack_debian_root(directory, archive);
    if (HasFatalFailure()) return;
    if (archive.empty()) GTEST_SKIP() << "no Debian root can be made here, see above: " << COPPICE_DEBIAN_ROOT;
    const auto store = value_of(store::Store::open(directory / "store"));
    const auto wanted = lines_of("root");
    const auto from_directory =
        value_of(import_image(*store, {.kind = Source::Kind::Directory, .location = directory / "root"}, {},
                              {.vdisk = "debian", .key = "1", .author = "tester"}, context));
    expect_same(mounted(*store, from_directory.snapshot), wanted);
    const auto from_tar = value_of(import_image(*store, {.kind = Source::Kind::Archive, .location = archive}, {},
                                                {.vdisk = "debian", .key = "2", .author = "tester"}, context));
    EXPECT_EQ(from_tar.number, 2U);
    EXPECT_EQ(from_tar.ingest.new_chunks, 0U) << "the same root from another source";
    expect_same(mounted(*store, from_tar.snapshot), wanted);
}

} // namespace
} // namespace coppice::imports
