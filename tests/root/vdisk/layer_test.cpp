// Needs: root, EROFS from files (Linux 6.12), overlayfs, loop devices, erofs-utils; for one test mmdebstrap.

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/loop_device.h"
#include "coppice/os/mount.h"
#include "coppice/test/child.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "coppice/vdisk/read_tree.h"
#include "debian_root.h"
#include "layer_fixture.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <malloc.h>
#include <random>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace coppice::vdisk {
namespace {

namespace fs = std::filesystem;
using namespace coppice::vdisk::test;
using coppice::test::fails_as;
using coppice::test::in_child;
using coppice::test::run_program;
using coppice::test::succeeds;
using coppice::test::TempDir;
using coppice::test::unpack_debian_root;

const ScanOptions kUpper{.form = ScanOptions::Form::OverlayUpper};

class FileSink final : public store::ChunkSink, public ByteSink {
public:
    explicit FileSink(const std::string& path)
        : fd_{value_of(os::open_at(os::kCwd, path, O_WRONLY | O_CREAT | O_TRUNC, 0600))}
    {
    }
    Result<> put(std::string_view chunk) override { return write(chunk); }
    Result<> write(std::string_view bytes) override { return os::write_all(fd_.get(), bytes, "a layer"); }

private:
    os::Fd fd_;
};

os::Fd open_directory(const std::string& path) { return value_of(os::open_at(os::kCwd, path, O_RDONLY | O_DIRECTORY)); }

/// A layer as two files.
struct LayerFiles {
    std::string metadata, blob;
    LayerSize size;

    LayerFiles(const std::string& path, Tree& tree) : metadata{path + ".meta"}, blob{path + ".blob"}
    {
        FileSink blob_file{blob}, metadata_file{metadata};
        size = value_of(write_layer(tree, blob_file, metadata_file));
    }
    [[nodiscard]] Result<os::Fd> mount() const
    {
        os::FsParameters parameters{{"source", metadata}, {"ro", ""}};
        if (size.blob_bytes > 0) parameters.emplace_back("device", blob);
        return os::new_file_system("erofs", parameters, os::mount_attr::kReadOnly);
    }
    [[nodiscard]] LayerReader reader() const
    {
        return value_of(LayerReader::open(value_of(os::open_at(os::kCwd, metadata, O_RDONLY))));
    }
    /// Both in one file, in the flat form or as they are.
    [[nodiscard]] std::string join(bool flat) const
    {
        const std::string path = metadata + (flat ? ".flat" : ".joined");
        FileSink file{path};
        if (flat)
            value_of(reader().write_flat(file));
        else
            value_of(file.write(coppice::test::read_text(metadata)));
        value_of(file.write(coppice::test::read_text(blob)));
        return path;
    }
};

bool has_loop_over(const std::string& path)
{
    for (const auto& block : fs::directory_iterator{"/sys/block"}) {
        const auto backing = os::read_file(os::kCwd, block.path().string() + "/loop/backing_file");
        if (backing && backing->starts_with(path)) return true;
    }
    return false;
}

class LayerMountTest : public testing::Test {
protected:
    void SetUp() override
    {
        COPPICE_NEEDS(Root, Erofs);
        Tree nothing;
        const auto mounted = LayerFiles{directory_ / "probe", nothing}.mount();
        if (!mounted && mounted.error().os_errno() == ENOTBLK) GTEST_SKIP() << "needs EROFS from files (Linux 6.12)";
    }

    static std::map<std::string, std::string> describe_directory(const os::Fd& root, ScanOptions options = kUpper)
    {
        auto tree = value_of(read_tree(root, options));
        return describe(tree);
    }
    /// The kernel and erofs-utils see in the layer what is in `wanted`.
    static void expect_mounts_as(const LayerFiles& layer, const std::map<std::string, std::string>& wanted)
    {
        {
            const auto mount = value_of(layer.mount());
            EXPECT_FALSE(has_loop_over(layer.metadata));
            EXPECT_FALSE(has_loop_over(layer.blob));
            const auto seen = describe_directory(mount);
            if (seen != wanted) expect_same_lines(seen, wanted);
        }
        EXPECT_TRUE(succeeds(layer.reader().check()));
        expect_tools_accept(layer.metadata, layer.size.blob_bytes > 0 ? layer.blob : "");
    }
    static void expect_tools_accept(const std::string& image, const std::string& device)
    {
        for (std::vector<std::string> command :
             {std::vector<std::string>{"fsck.erofs", "--extract"}, {"dump.erofs", "-s"}}) {
            if (!device.empty()) command.push_back("--device=" + device);
            command.push_back(image);
            const int status = run_program(command);
            EXPECT_TRUE(status == 0 || status == 127) << command.front() << " ends with " << status;
        }
    }
    static void expect_same_lines(const std::map<std::string, std::string>& seen,
                                  const std::map<std::string, std::string>& wanted)
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

    TempDir directory_;
};

void set_times(const std::string& path, std::int64_t seconds, long nanoseconds)
{
    const std::array<timespec, 2> times{timespec{.tv_sec = 1, .tv_nsec = 1},
                                        {.tv_sec = seconds, .tv_nsec = nanoseconds}};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW), 0) << path;
}

void set_xattr(const std::string& path, const char* name, const std::string& value)
{
    ASSERT_EQ(::lsetxattr(path.c_str(), name, value.data(), value.size(), 0), 0) << path << " " << name;
}

/// user::rw-, user:1000:r--, group::r--, mask::r--, other::r--
std::string make_acl()
{
    std::string acl{"\2\0\0\0", 4};
    const auto add = [&](int tag, int permissions, std::uint32_t id) {
        for (const std::uint32_t part : {static_cast<std::uint32_t>(tag | permissions << 16), id})
            for (unsigned i = 0; i < 4; ++i)
                acl += static_cast<char>(part >> 8 * i);
    };
    add(1, 6, UINT32_MAX);
    add(2, 4, 1000);
    add(4, 4, UINT32_MAX);
    add(16, 4, UINT32_MAX);
    add(32, 4, UINT32_MAX);
    return acl;
}

/// One of everything that a file system can hold.
void make_everything(const TempDir& d)
{
    d.write("tree/etc/motd", "hello");
    d.write("tree/etc/empty", "");
    d.write("tree/bin/su", noise(70'000, 1));
    ASSERT_EQ(::chown((d / "tree/etc/motd").c_str(), 70'000, 80'000), 0);
    ASSERT_EQ(::chmod((d / "tree/bin/su").c_str(), 04755), 0);
    ASSERT_EQ(::chmod((d / "tree/etc").c_str(), 01777), 0);
    ASSERT_EQ(::symlink("../etc/motd", (d / "tree/bin/link").c_str()), 0);
    ASSERT_EQ(::symlink(std::string(4095, 'l').c_str(), (d / "tree/bin/long").c_str()), 0);
    ASSERT_EQ(::symlink("/nowhere", (d / "tree/dangling").c_str()), 0);
    ASSERT_EQ(::mknod((d / "tree/fifo").c_str(), S_IFIFO | 0640, 0), 0);
    ASSERT_EQ(::mknod((d / "tree/socket").c_str(), S_IFSOCK | 0700, 0), 0);
    ASSERT_EQ(::mknod((d / "tree/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0);
    ASSERT_EQ(::mknod((d / "tree/disk").c_str(), S_IFBLK | 0660, makedev(259, 300'000)), 0);
    ASSERT_EQ(::mknod((d / "tree/gone").c_str(), S_IFCHR, makedev(0, 0)), 0);
    ASSERT_EQ(::link((d / "tree/gone").c_str(), (d / "tree/gone-too").c_str()), 0) << "as overlayfs does";
    d.make_directory("tree/opaque");
    set_xattr(d / "tree/opaque", "trusted.overlay.opaque", "y");
    set_xattr(d / "tree/opaque", "trusted.overlay.origin", "a note");
    d.make_directory("tree/links");
    for (int i = 0; i < 1000; ++i)
        ASSERT_EQ(::link((d / "tree/etc/motd").c_str(), (d / cat("tree/links/", i)).c_str()), 0);
    d.make_directory("tree/many");
    for (int i = 0; i < 2000; ++i)
        d.write(cat("tree/many/", i), cat(i));
    d.write("tree/" + std::string(255, 'n'), "long name");
    d.write("tree/\xff\xfe\n\x01", "odd name");
    d.write("tree/acl", "acl");
    set_xattr(d / "tree/acl", "system.posix_acl_access", make_acl());
    set_xattr(d / "tree/links", "system.posix_acl_default", make_acl());
    set_xattr(d / "tree/acl", "user.one", "");
    set_xattr(d / "tree/acl", "user.two", noise(2000, 3));
    set_xattr(d / "tree/null", "trusted.dropped", "x");
    set_xattr(d / "tree/bin/su", "security.capability", std::string{"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20});
    set_times(d / "tree/etc/empty", -1, 999'999'999);
    set_times(d / "tree/bin/link", -2'000'000'000, 1);
    set_times(d / "tree/fifo", 15'000'000'000, 123'456'789);
    {
        const auto sparse = value_of(os::open_at(os::kCwd, d / "tree/sparse", O_WRONLY | O_CREAT, 0600));
        for (const off_t at : {off_t{0}, off_t{3} << 30, (off_t{5} << 30) + 12345})
            ASSERT_EQ(::pwrite(sparse.get(), "data", 4, at), 4);
    }
}

TEST_F(LayerMountTest, EverythingComesBack)
{
    make_everything(directory_);
    auto tree = value_of(read_tree(open_directory(directory_ / "tree"), kUpper));
    // Some of it by name: what the scan overlooks on both sides would be the same on both.
    const auto at = [&](const char* path) { return tree.find_path(path).value(); };
    EXPECT_EQ(tree.attributes(at("etc/motd")).uid, 70'000U);
    EXPECT_EQ(tree.attributes(at("bin/su")).mode, S_IFREG | 04755U);
    EXPECT_EQ(tree.attributes(at("bin/link")).mtime, (FileTime{.seconds = -2'000'000'000, .nanoseconds = 1}));
    EXPECT_EQ(tree.target(at("bin/link")), "../etc/motd");
    EXPECT_EQ(tree.device(at("disk")), (DeviceNumber{.major = 259, .minor = 300'000}));
    EXPECT_EQ(at("links/999"), at("etc/motd"));
    EXPECT_NE(at("gone"), at("gone-too"));
    EXPECT_EQ(tree.xattrs(at("acl")).size(), 3U);
    EXPECT_EQ(tree.xattrs(at("acl"))[0].value, make_acl());
    EXPECT_EQ(tree.xattrs(at("bin/su")).size(), 1U);
    EXPECT_EQ(tree.xattrs(at("opaque")), (std::vector<Xattr>{{"trusted.overlay.opaque", "y"}}));
    EXPECT_TRUE(tree.xattrs(at("null")).empty());
    // The sparse file is not read into memory whole: its parts are compared below.
    const auto sparse_bytes = tree.size(at("sparse"));
    EXPECT_EQ(sparse_bytes, (5ULL << 30U) + 12349);

    const LayerFiles layer{directory_ / "layer", tree};
    EXPECT_LT(layer.size.blob_bytes, 20U << 20U);
    {
        const auto mount = value_of(layer.mount());
        const auto sparse = value_of(os::open_at(mount.get(), "sparse", O_RDONLY));
        struct stat status{};
        ASSERT_EQ(::fstat(sparse.get(), &status), 0);
        EXPECT_EQ(static_cast<std::uint64_t>(status.st_size), sparse_bytes);
        std::array<char, 8> bytes{};
        ASSERT_EQ(::pread(sparse.get(), bytes.data(), 8, 3LL << 30), 8);
        EXPECT_EQ(std::string_view(bytes.data(), 8), std::string_view("data\0\0\0\0", 8));
        ASSERT_EQ(::pread(sparse.get(), bytes.data(), 8, static_cast<off_t>(sparse_bytes) - 4), 4);
        EXPECT_EQ(std::string_view(bytes.data(), 4), "data");
        ASSERT_EQ(::pread(sparse.get(), bytes.data(), 8, 1LL << 30), 8);
        EXPECT_EQ(std::string_view(bytes.data(), 8), std::string_view("\0\0\0\0\0\0\0\0", 8));
    }
    fs::remove(directory_ / "tree/sparse");
    auto rest = value_of(read_tree(open_directory(directory_ / "tree"), kUpper));
    expect_mounts_as(LayerFiles{directory_ / "rest", rest}, describe(rest));
}

/// Trees that no file system here could hold: large attributes, all times, a large directory.
TEST_F(LayerMountTest, LargeAttributesAndDirectories)
{
    TestTree t;
    const auto file = t.file("file", "content");
    value_of(t.tree.set_xattrs(file, {{"user.a", noise(65535, 1)}, {"user.b", noise(65535, 2)}, {"user.c", "c"}}));
    const auto link = t.link("link", std::string(4000, 'l'));
    value_of(t.tree.set_xattrs(link, {{"security.x", noise(200, 3)}}));
    for (const std::int64_t seconds : {INT64_MIN, INT64_MAX, std::int64_t{-1}})
        value_of(
            t.tree.set_attributes(t.file(cat("time", seconds), "t"),
                                  {.mode = S_IFREG | 0644, .mtime = {.seconds = seconds, .nanoseconds = 999'999'999}}));
    const auto many = t.directory("many");
    for (int i = 0; i < 100'000; ++i)
        value_of(t.tree.link(many, cat("entry number ", i), value_of(t.tree.add({.mode = S_IFREG | 0644}))));
    const LayerFiles layer{directory_ / "layer", t.tree};
    expect_mounts_as(layer, describe(t.tree));
    const auto mount = value_of(layer.mount());
    for (int i = 0; i < 100'000; i += 997)
        EXPECT_TRUE(os::exists(mount.get(), cat("many/entry number ", i)));
    EXPECT_FALSE(os::exists(mount.get(), "many/entry number 100000"));
}

TEST_F(LayerMountTest, RandomTreesMount)
{
    for (unsigned seed = 1; seed <= 25; ++seed) {
        std::mt19937 random{seed};
        std::vector<Op> ops(seed * 12);
        for (Op& op : ops)
            op = {static_cast<std::uint8_t>(random()), static_cast<std::uint16_t>(random()),
                  static_cast<std::uint16_t>(random()), static_cast<std::uint32_t>(random())};
        TestTree t = make_tree(ops);
        SCOPED_TRACE(seed);
        expect_mounts_as(LayerFiles{directory_ / "layer", t.tree}, describe(t.tree));
    }
}

TEST_F(LayerMountTest, TwoScansInDifferentOrderGiveTheSameBytes)
{
    for (int i = 0; i < 500; ++i) {
        const std::string content = noise(static_cast<std::size_t>(i * 100), static_cast<std::uint64_t>(i));
        directory_.write(cat("one/dir", i % 7, "/", i), content);
        const int j = 499 - i;
        directory_.write(cat("two/dir", j % 7, "/", j),
                         noise(static_cast<std::size_t>(j * 100), static_cast<std::uint64_t>(j)));
    }
    for (const char* const root : {"one", "two"})
        for (const auto& entry : fs::recursive_directory_iterator{directory_ / root})
            set_times(entry.path(), 1'700'000'000, 5);
    std::vector<std::string> bytes;
    for (const char* const root : {"one", "two"}) {
        set_times(directory_ / root, 1'700'000'000, 5);
        auto tree = value_of(read_tree(open_directory(directory_ / root)));
        const LayerFiles layer{directory_ / cat("layer-", root), tree};
        bytes.push_back(sha256(coppice::test::read_text(layer.metadata)) +
                        sha256(coppice::test::read_text(layer.blob)));
    }
    EXPECT_EQ(bytes[0], bytes[1]);
}

TEST_F(LayerMountTest, TheFlatVariantIsOneBlockDevice)
{
    COPPICE_NEEDS(LoopDevices);
    TestTree t;
    t.directory("dir");
    for (int i = 0; i < 300; ++i)
        t.file(cat("dir/", i), noise(static_cast<std::size_t>(i * 1000), static_cast<std::uint64_t>(i)));
    t.link("link", std::string(4090, 'l'));
    t.put("gone", value_of(t.tree.add_whiteout()));
    const LayerFiles layer{directory_ / "layer", t.tree};
    const auto wanted = describe(t.tree);
    for (const bool flat : {true, false}) { // Linux 6.4 also takes both parts as they are
        const std::string path = layer.join(flat);
        const auto file = value_of(os::open_at(os::kCwd, path, O_RDONLY));
        const auto loop = value_of(os::LoopDevice::over(file, path));
        const auto mount =
            os::new_file_system("erofs", {{"source", loop.path()}, {"ro", ""}}, os::mount_attr::kReadOnly);
        ASSERT_TRUE(succeeds(mount));
        EXPECT_TRUE(describe_directory(*mount) == wanted) << flat;
        if (flat) expect_tools_accept(path, "");
    }
}

/// Lines of a directory as programs see it: no whiteouts, no marks.
std::map<std::string, std::string> merged_view(const os::Fd& root)
{
    auto tree = value_of(read_tree(root));
    return describe(tree);
}

TEST_F(LayerMountTest, OverlayfsHonoursWhiteoutsAndOpaqueDirectories)
{
    COPPICE_NEEDS(Overlayfs);
    directory_.write("base/etc/passwd", "root");
    directory_.write("base/etc/doomed", "x");
    directory_.write("base/replaced/old", "old");
    directory_.write("base/removed/file", "x");
    for (const char* const name : {"upper", "work", "empty"})
        directory_.make_directory(name);
    const auto overlay = [&](const os::FsParameters& more) {
        os::FsParameters parameters{
            {"source", "test"}, {"redirect_dir", "nofollow"}, {"metacopy", "off"}, {"index", "off"}};
        parameters.insert(parameters.end(), more.begin(), more.end());
        return value_of(os::new_file_system("overlay", parameters, 0));
    };
    std::map<std::string, std::string> wanted;
    {
        const auto merged = overlay(
            {{"lowerdir", directory_ / "base"}, {"upperdir", directory_ / "upper"}, {"workdir", directory_ / "work"}});
        const std::string path = os::path_of(merged.get());
        fs::remove(path + "/etc/doomed");
        fs::remove_all(path + "/removed");
        fs::remove_all(path + "/replaced");
        fs::create_directory(path + "/replaced");
        coppice::test::write_text(path + "/replaced/new", "new");
        coppice::test::write_text(path + "/etc/passwd", "root changed");
        wanted = merged_view(merged);
    }
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "whiteout", read_tree(open_directory(directory_ / "upper"))));
    auto base_tree = value_of(read_tree(open_directory(directory_ / "base")));
    auto upper_tree = value_of(read_tree(open_directory(directory_ / "upper"), kUpper));
    EXPECT_TRUE(upper_tree.is_whiteout(upper_tree.find_path("removed").value()));
    const LayerFiles base{directory_ / "base-layer", base_tree}, upper{directory_ / "upper-layer", upper_tree};
    const auto base_mount = value_of(base.mount()), upper_mount = value_of(upper.mount());
    directory_.make_directory("at/base");
    directory_.make_directory("at/upper");
    ASSERT_TRUE(succeeds(os::attach_mount(base_mount.get(), os::kCwd, directory_ / "at/base")));
    ASSERT_TRUE(succeeds(os::attach_mount(upper_mount.get(), os::kCwd, directory_ / "at/upper")));
    const auto merged = overlay({{"lowerdir", cat(directory_ / "at/upper", ":", directory_ / "at/base")}});
    const auto seen = merged_view(merged);
    EXPECT_FALSE(seen.contains("/etc/doomed"));
    EXPECT_FALSE(seen.contains("/removed"));
    EXPECT_FALSE(seen.contains("/replaced/old"));
    EXPECT_TRUE(seen.contains("/replaced/new"));
    expect_same_lines(seen, wanted);
}

TEST_F(LayerMountTest, WhatPointsElsewhereIsRefused)
{
    directory_.write("tree/file", "x");
    for (const char* const name : {"redirect", "metacopy", "whiteouts"}) {
        const std::string xattr = cat("trusted.overlay.", name);
        set_xattr(directory_ / "tree/file", xattr.c_str(), "y");
        EXPECT_TRUE(fails_as(ErrorKind::Unsupported, xattr, read_tree(open_directory(directory_ / "tree"), kUpper)));
        ASSERT_EQ(::removexattr((directory_ / "tree/file").c_str(), xattr.c_str()), 0);
    }
    EXPECT_TRUE(succeeds(read_tree(open_directory(directory_ / "tree"), kUpper)));
}

TEST_F(LayerMountTest, MountsAreNotEnteredUnlessAsked)
{
    directory_.write("tree/dir/below", "below");
    directory_.write("tree/file", "below");
    directory_.write("other/inside", "inside");
    ASSERT_EQ(::mount((directory_ / "other").c_str(), (directory_ / "tree/dir").c_str(), nullptr, MS_BIND, nullptr), 0);
    ASSERT_EQ(
        ::mount((directory_ / "other/inside").c_str(), (directory_ / "tree/file").c_str(), nullptr, MS_BIND, nullptr),
        0);
    auto tree = value_of(read_tree(open_directory(directory_ / "tree")));
    EXPECT_TRUE(tree.entries(tree.find_path("dir").value()).empty());
    EXPECT_EQ(tree.size(tree.find_path("file").value()), 0U);
    auto whole = value_of(read_tree(open_directory(directory_ / "tree"), {.cross_mounts = true}));
    EXPECT_EQ(content_of(whole, whole.find_path("dir/inside").value()), "inside");
    EXPECT_EQ(content_of(whole, whole.find_path("file").value()), "inside");
}

TEST_F(LayerMountTest, LinksAreNotFollowedWhenContentIsRead)
{
    directory_.write("tree/dir/file", "inside");
    directory_.write("outside/file", "secret");
    auto tree = value_of(read_tree(open_directory(directory_ / "tree")));
    fs::rename(directory_ / "tree/dir", directory_ / "tree/moved");
    ASSERT_EQ(::symlink((directory_ / "outside").c_str(), (directory_ / "tree/dir").c_str()), 0);
    WrittenLayer layer;
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "/dir/file", write_layer(tree, layer, layer)));
    fs::remove(directory_ / "tree/dir");
    fs::rename(directory_ / "tree/moved", directory_ / "tree/dir");
    fs::remove(directory_ / "tree/dir/file");
    ASSERT_EQ(::symlink((directory_ / "outside/file").c_str(), (directory_ / "tree/dir/file").c_str()), 0);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "/dir/file", write_layer(tree, layer, layer)));
    fs::remove(directory_ / "tree/dir/file");
    ASSERT_EQ(::mknod((directory_ / "tree/dir/file").c_str(), S_IFIFO | 0600, 0), 0);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "/dir/file", write_layer(tree, layer, layer)));
}

TEST_F(LayerMountTest, AFileThatChangesIsAnError)
{
    for (const char* const content : {"longer than it was", "sh"}) {
        directory_.write("tree/file", "as listed");
        auto tree = value_of(read_tree(open_directory(directory_ / "tree")));
        directory_.write("tree/file", content);
        WrittenLayer layer;
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, "/file: the file was changed", write_layer(tree, layer, layer)));
    }
    // While it is read: the sink changes it.
    struct Changing final : store::ChunkSink {
        std::string path;
        Result<> put(std::string_view) override
        {
            const auto file = value_of(os::open_at(os::kCwd, path, O_WRONLY));
            return os::write_all(file.get(), "changed", path);
        }
    } changing;
    changing.path = directory_ / "tree/file";
    directory_.write("tree/file", noise(600'000, 1));
    set_times(directory_ / "tree/file", 1, 1);
    auto tree = value_of(read_tree(open_directory(directory_ / "tree")));
    WrittenLayer layer;
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "/file: the file was changed", write_layer(tree, changing, layer)));
}

/// A path of more than PATH_MAX bytes can be read, and a directory so deep costs no descriptors.
TEST_F(LayerMountTest, VeryDeepTrees)
{
    const std::string name(100, 'd');
    directory_.make_directory("tree");
    auto at = open_directory(directory_ / "tree");
    for (int i = 0; i < 300; ++i) {
        ASSERT_TRUE(succeeds(os::make_directory(at.get(), name, 0755)));
        at = value_of(os::open_at(at.get(), name, O_RDONLY | O_DIRECTORY));
    }
    value_of(os::replace_file(at.get(), "bottom", "here"));
    auto tree = value_of(read_tree(open_directory(directory_ / "tree")));
    const LayerFiles layer{directory_ / "layer", tree};
    expect_mounts_as(layer, describe(tree));
    at = os::Fd{};
    ASSERT_TRUE(succeeds(os::remove_tree(directory_.fd(), "tree")));
}

double seconds_of(clockid_t clock)
{
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

TEST_F(LayerMountTest, ADebianRootComesBack)
{
    std::string archive;
    unpack_debian_root(directory_, archive);
    if (HasFatalFailure()) return;
    if (archive.empty()) GTEST_SKIP() << "no Debian root can be made here, see above: " << COPPICE_DEBIAN_ROOT;

    const double start = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    auto tree = value_of(read_tree(open_directory(directory_ / "root")));
    const double scanned = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    const LayerFiles layer{directory_ / "layer", tree};
    const double written = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    std::cout << layer.size.inodes << " inodes, " << layer.size.file_bytes << " bytes in files: metadata "
              << layer.size.metadata_bytes << ", blob " << layer.size.blob_bytes << " in " << layer.size.chunks
              << " chunks; CPU seconds: listed in " << scanned - start << ", written in " << written - scanned << "\n";
    EXPECT_LT(layer.size.metadata_bytes, layer.size.blob_bytes / 50);
    expect_mounts_as(layer, describe(tree));
}

/// Memory of a tree of many files, all of it: set COPPICE_TEST_FILES=1000000 for the real thing.
TEST_F(LayerMountTest, ManyFilesFitIntoMemory)
{
    const char* const chosen = std::getenv("COPPICE_TEST_FILES");
    const int files = chosen == nullptr ? 30'000 : std::atoi(chosen);
    directory_.make_directory("tree");
    ASSERT_EQ(::mount("tmpfs", (directory_ / "tree").c_str(), "tmpfs", 0, "nr_inodes=0"), 0); // quick, and quickly gone
    EXPECT_TRUE(in_child(0, [&] {                                                             // not counted
        for (int i = 0; i < files; ++i) {
            if (i % 1000 == 0) directory_.make_directory(cat("tree/directory-", i / 1000));
            const std::string path = directory_ / cat("tree/directory-", i / 1000, "/some-file-name-", i);
            const auto file = value_of(os::open_at(os::kCwd, path, O_WRONLY | O_CREAT | O_EXCL, 0644));
            if (i % 4 == 0) value_of(os::write_all(file.get(), path, path));
        }
    }));
    EXPECT_TRUE(in_child(0, [&] {
        ::malloc_trim(0); // what earlier tests left would hide what is taken now
        const auto peak_kib = [] {
            const auto status = coppice::test::read_text("/proc/self/status");
            return std::strtoul(status.c_str() + status.find("VmHWM:") + 6, nullptr, 10);
        };
        coppice::test::write_text("/proc/self/clear_refs", "5"); // the peak counts from here
        const auto before = peak_kib();
        const double start = seconds_of(CLOCK_MONOTONIC);
        auto tree = value_of(read_tree(open_directory(directory_ / "tree")));
        const double scanned = seconds_of(CLOCK_MONOTONIC);
        const auto tree_kib = peak_kib() - before;
        const LayerFiles layer{directory_ / "layer", tree};
        const double written = seconds_of(CLOCK_MONOTONIC);
        const auto all_kib = peak_kib() - before;
        std::cout << files << " files: tree " << tree_kib << " KiB, with writing " << all_kib << " KiB, metadata "
                  << layer.size.metadata_bytes << " bytes; listed in " << scanned - start << " s, written in "
                  << written - scanned << " s\n";
        EXPECT_LT(all_kib, 8192 + static_cast<std::uint64_t>(files) * 230 / 1024);
        EXPECT_LT(all_kib, 256U << 10U);
        EXPECT_TRUE(succeeds(layer.reader().check()));
        std::cout << "checked; peak " << peak_kib() - before << " KiB\n";
    }));
}

} // namespace
} // namespace coppice::vdisk
