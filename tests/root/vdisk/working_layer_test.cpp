// Needs: root, overlayfs, id-mapped mounts; EROFS with mkfs.erofs and loop devices for half of them.

#include "coppice/vdisk/working_layer.h"

#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "coppice/vdisk/image.h"

#include <array>
#include <cerrno>
#include <filesystem>
#include <grp.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace coppice::vdisk {
namespace {

namespace fs = std::filesystem;
using test::fails_as;
using test::in_child;
using test::succeeds;
using test::value_of;

constexpr std::uint32_t kFirst = 1'000'000; // host id of the instance's root

/// One instance with a layer of its own over an image, seen at `merged`.
class WorkingLayerTest : public testing::TestWithParam<Image::Kind> {
protected:
    void SetUp() override
    {
        COPPICE_NEEDS(Root, Overlayfs, UserNamespaces, IdMappedMounts);
        if (GetParam() == Image::Kind::Erofs) COPPICE_NEEDS(Erofs, MkfsErofs, LoopDevices);
        directory_.write("image/etc/motd", "original");
        directory_.write("image/etc/doomed", "x");
        directory_.write("image/secret/file", "secret");
        directory_.write("image/home/file", "www");
        ASSERT_EQ(::chown((directory_ / "image/home/file").c_str(), 33, 34), 0);
        ASSERT_EQ(::chmod((directory_ / "image/secret").c_str(), 0755), 0);
        directory_.make_directory("image/empty");
        directory_.make_directory("instance");
        directory_.make_directory("merged");
        root_ = directory_ / "image";
        if (GetParam() == Image::Kind::Erofs) {
            root_ = directory_ / "image.erofs";
            ASSERT_EQ(test::run_program({"mkfs.erofs", root_, directory_ / "image"}), 0);
        }
        instance_ = value_of(os::open_at(os::kCwd, directory_ / "instance", O_RDONLY | O_DIRECTORY));
        user_namespace_ = value_of(os::make_user_namespace(kMapping));
    }

    Result<os::Fd> mount(WorkingLayer::Durability durability = WorkingLayer::Durability::Normal,
                         const os::UserMapping& mapping = kMapping) const
    {
        // Opened anew: a descriptor of another mount namespace cannot be cloned.
        const auto instance = TRY(os::open_at(os::kCwd, directory_ / "instance", O_RDONLY | O_DIRECTORY));
        const auto image = TRY(Image::open(root_));
        const auto layer = TRY(WorkingLayer::open(instance.get()));
        return layer.mount_over(TRY(image.mount()), root_, user_namespace_, mapping, durability);
    }

    /// Runs `body` as the instance's root in a mount namespace with the layer at `merged`; false with the reason.
    testing::AssertionResult as_instance(const std::function<void()>& body,
                                         WorkingLayer::Durability durability = WorkingLayer::Durability::Normal) const
    {
        return in_child(CLONE_NEWNS, [&] {
            const auto merged = value_of(mount(durability));
            ASSERT_TRUE(succeeds(os::attach_mount(merged.get(), os::kCwd, directory_ / "merged")));
            ASSERT_EQ(::chmod(directory_.path().c_str(), 0711), 0);
            ASSERT_EQ(::setgroups(0, nullptr), 0);
            ASSERT_EQ(::setresgid(kFirst, kFirst, kFirst), 0);
            ASSERT_EQ(::setresuid(kFirst, kFirst, kFirst), 0);
            ::umask(022);
            body();
        });
    }

    std::string upper(const std::string& name) const { return directory_ / ("instance/layer/upper/" + name); }
    struct stat upper_status(const std::string& name) const
    {
        struct stat status{};
        EXPECT_EQ(::lstat(upper(name).c_str(), &status), 0) << name;
        return status;
    }
    bool image_is_untouched() const
    {
        return directory_.read("image/etc/motd") == "original" && directory_.exists("image/etc/doomed") &&
               directory_.exists("image/home/file") && !directory_.exists("image/etc/new");
    }

    static const os::UserMapping kMapping;
    test::TempDir directory_;
    std::string root_;
    os::Fd instance_, user_namespace_;
};

const os::UserMapping WorkingLayerTest::kMapping{.uids = {{0, kFirst, 65536}}, .gids = {{0, kFirst, 65536}}};

TEST_P(WorkingLayerTest, ChangesStayAndTheImageIsUntouched)
{
    EXPECT_TRUE(as_instance([&] {
        test::write_text(directory_ / "merged/etc/motd", "changed");
        test::write_text(directory_ / "merged/etc/new", "new");
        fs::remove(directory_ / "merged/etc/doomed");
        fs::create_directory(directory_ / "merged/opt");
        fs::rename(directory_ / "merged/etc/motd", directory_ / "merged/opt/motd");
        EXPECT_LT(::mknod((directory_ / "merged/null").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
    }));
    EXPECT_TRUE(image_is_untouched());
    EXPECT_TRUE(as_instance([&] { // the next start
        EXPECT_EQ(directory_.read("merged/opt/motd"), "changed");
        EXPECT_EQ(directory_.read("merged/etc/new"), "new");
        EXPECT_FALSE(directory_.exists("merged/etc/doomed"));
        EXPECT_FALSE(directory_.exists("merged/etc/motd"));
        EXPECT_EQ(directory_.read("merged/home/file"), "www");
    }));
}

TEST_P(WorkingLayerTest, TheLayerHoldsTheInstancesOwnIds)
{
    EXPECT_TRUE(as_instance([&] {
        struct stat status{};
        ASSERT_EQ(::stat((directory_ / "merged/home/file").c_str(), &status), 0);
        EXPECT_EQ(status.st_uid, kFirst + 33);
        EXPECT_EQ(status.st_gid, kFirst + 34);
        ASSERT_EQ(::stat((directory_ / "merged").c_str(), &status), 0);
        EXPECT_EQ(status.st_uid, kFirst) << "the root directory is the image's";
        test::write_text(directory_ / "merged/etc/motd", "changed"); // copied up
        test::write_text(directory_ / "merged/etc/new", "new");
        fs::remove(directory_ / "merged/etc/doomed");
    }));
    for (const char* const name : {"etc", "etc/motd", "etc/new"}) {
        EXPECT_EQ(upper_status(name).st_uid, 0U) << name;
        EXPECT_EQ(upper_status(name).st_gid, 0U) << name;
    }
    const auto whiteout = upper_status("etc/doomed");
    EXPECT_TRUE(S_ISCHR(whiteout.st_mode));
    EXPECT_EQ(whiteout.st_rdev, makedev(0, 0));
}

TEST_P(WorkingLayerTest, CopiedUpFilesKeepTheirOwner)
{
    EXPECT_TRUE(in_child(CLONE_NEWNS, [&] {
        const auto merged = value_of(mount());
        const auto file = value_of(os::open_at(merged.get(), "home/file", O_WRONLY | O_APPEND)); // the host's root may
        ASSERT_TRUE(succeeds(os::write_all(file.get(), "+", "file")));
    }));
    EXPECT_EQ(upper_status("home/file").st_uid, 33U);
    EXPECT_EQ(upper_status("home/file").st_gid, 34U);
    EXPECT_EQ(test::read_text(upper("home/file")), "www+");
}

TEST_P(WorkingLayerTest, NothingStaysMountedAndTheProcessIsItselfAgain)
{
    const std::string before = test::read_text("/proc/self/mountinfo");
    const std::string status_before = test::read_text("/proc/self/status");
    {
        const auto merged = value_of(mount());
        EXPECT_EQ(test::read_text("/proc/self/mountinfo"), before);
        EXPECT_FALSE(mount(WorkingLayer::Durability::Normal, {.uids = {{1, kFirst, 10}}, .gids = {{0, kFirst, 10}}}));
    }
    EXPECT_EQ(test::read_text("/proc/self/mountinfo"), before);
    const auto line = [](const std::string& status, const char* key) {
        const auto start = status.find(key);
        return status.substr(start, status.find('\n', start) - start);
    };
    const std::string status = test::read_text("/proc/self/status");
    for (const char* const key : {"Uid:", "Gid:", "CapEff:", "CapPrm:"})
        EXPECT_EQ(line(status, key), line(status_before, key));
}

TEST_P(WorkingLayerTest, DiscardUndoesEverything)
{
    EXPECT_TRUE(as_instance([&] {
        test::write_text(directory_ / "merged/etc/motd", "changed");
        fs::create_directories(directory_ / "merged/a/b/c");
    }));
    ASSERT_TRUE(succeeds(WorkingLayer::discard(instance_.get())));
    EXPECT_FALSE(directory_.exists("instance/layer"));
    directory_.make_directory("instance/.discarded-0123/upper"); // what a killed one left
    ASSERT_TRUE(succeeds(WorkingLayer::discard(instance_.get()))) << "absence is fine";
    EXPECT_FALSE(directory_.exists("instance/.discarded-0123"));
    EXPECT_TRUE(as_instance([&] {
        EXPECT_EQ(directory_.read("merged/etc/motd"), "original");
        EXPECT_FALSE(directory_.exists("merged/a"));
    }));
}

TEST_P(WorkingLayerTest, APlantedRedirectIsNotFollowed)
{
    ASSERT_TRUE(succeeds(WorkingLayer::open(instance_.get())));
    fs::create_directories(upper("planted"));
    ASSERT_EQ(::setxattr(upper("planted").c_str(), "trusted.overlay.redirect", "/secret", 7, 0), 0);
    fs::create_directories(upper("empty"));
    ASSERT_EQ(::setxattr(upper("empty").c_str(), "trusted.overlay.redirect", "/secret", 7, 0), 0);
    EXPECT_TRUE(as_instance([&] {
        EXPECT_FALSE(directory_.exists("merged/planted/file"));
        EXPECT_FALSE(directory_.exists("merged/empty/file"));
        EXPECT_TRUE(directory_.exists("merged/secret/file")) << "the test looks at the wrong place";
    }));
}

TEST_P(WorkingLayerTest, APlantedMetacopyIsNotFollowed)
{
    ASSERT_TRUE(succeeds(WorkingLayer::open(instance_.get())));
    fs::create_directories(upper("etc"));
    test::write_text(upper("etc/motd"), "");
    ASSERT_EQ(::setxattr(upper("etc/motd").c_str(), "trusted.overlay.metacopy", "", 0, 0), 0);
    ASSERT_EQ(::setxattr(upper("etc/motd").c_str(), "trusted.overlay.redirect", "/secret/file", 12, 0), 0);
    EXPECT_TRUE(as_instance([&] {
        const auto text = os::read_file(os::kCwd, directory_ / "merged/etc/motd");
        EXPECT_NE(text.value_or(""), "secret");
    }));
}

TEST_P(WorkingLayerTest, TheInstanceCannotPlantOverlayAttributes)
{
    EXPECT_TRUE(as_instance([&] {
        fs::create_directory(directory_ / "merged/mine");
        EXPECT_LT(::setxattr((directory_ / "merged/mine").c_str(), "trusted.overlay.redirect", "/secret", 7, 0), 0);
    }));
    std::array<char, 64> value{};
    EXPECT_LT(::getxattr(upper("mine").c_str(), "trusted.overlay.redirect", value.data(), value.size()), 0);
}

TEST_P(WorkingLayerTest, OnlyAThrowAwayLayerIsNotSynced)
{
    const auto options = [&](WorkingLayer::Durability durability) {
        const auto merged = value_of(mount(durability));
        EXPECT_TRUE(succeeds(os::attach_mount(merged.get(), os::kCwd, directory_ / "merged")));
        std::string info = test::read_text("/proc/self/mountinfo");
        info = info.substr(info.find(directory_ / "merged"));
        EXPECT_TRUE(succeeds(os::detach_mount(merged.get())));
        return info.substr(0, info.find('\n'));
    };
    EXPECT_EQ(options(WorkingLayer::Durability::Normal).find("volatile"), std::string::npos);
    EXPECT_NE(options(WorkingLayer::Durability::None).find("volatile"), std::string::npos);
    EXPECT_FALSE(mount(WorkingLayer::Durability::Normal)) << "what was not synced is never taken for what was";
    ASSERT_TRUE(succeeds(WorkingLayer::discard(instance_.get())));
    EXPECT_TRUE(succeeds(mount(WorkingLayer::Durability::Normal)));
}

TEST_P(WorkingLayerTest, TwoInstancesOfOneImageDoNotSeeEachOther)
{
    directory_.make_directory("second");
    EXPECT_TRUE(in_child(CLONE_NEWNS, [&] {
        const auto second = value_of(os::open_at(os::kCwd, directory_ / "second", O_RDONLY | O_DIRECTORY));
        const auto first_root = value_of(mount());
        const auto image = value_of(Image::open(root_));
        const auto layer = value_of(WorkingLayer::open(second.get()));
        const os::UserMapping other{.uids = {{0, 2'000'000, 65536}}, .gids = {{0, 2'000'000, 65536}}};
        const auto ns = value_of(os::make_user_namespace(other));
        const auto second_root =
            value_of(layer.mount_over(value_of(image.mount()), root_, ns, other, WorkingLayer::Durability::Normal));
        ASSERT_TRUE(succeeds(os::write_all(
            value_of(os::open_at(first_root.get(), "etc/motd", O_WRONLY | O_TRUNC)).get(), "mine", "motd")));
        EXPECT_EQ(value_of(os::read_file(first_root.get(), "etc/motd")), "mine");
        EXPECT_EQ(value_of(os::read_file(second_root.get(), "etc/motd")), "original");
        EXPECT_EQ(value_of(os::find_status(second_root.get(), "home/file"))->st_uid, 2'000'033U);
    }));
    EXPECT_TRUE(image_is_untouched());
}

TEST_P(WorkingLayerTest, TheImageItselfIsReadOnlyAndWithoutDevices)
{
    if (GetParam() == Image::Kind::Directory) {
        ASSERT_EQ(::mknod((directory_ / "image/full").c_str(), S_IFCHR | 0666, makedev(1, 7)), 0);
    }
    const auto image = value_of(value_of(Image::open(root_)).mount());
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "motd", os::open_at(image.get(), "etc/motd", O_WRONLY)));
    if (GetParam() == Image::Kind::Directory) {
        EXPECT_TRUE(fails_as(ErrorKind::Denied, "full", os::open_at(image.get(), "full", O_RDONLY)));
        EXPECT_TRUE(fails_as(ErrorKind::Denied, "full", os::open_at(value_of(mount()).get(), "full", O_RDONLY)));
    }
}

TEST_P(WorkingLayerTest, AMappingWithoutRootIsRefused)
{
    EXPECT_TRUE(
        fails_as(ErrorKind::Invalid, "lacks id 0",
                 mount(WorkingLayer::Durability::Normal, {.uids = {{1, kFirst, 10}}, .gids = {{0, kFirst, 10}}})));
}

INSTANTIATE_TEST_SUITE_P(Over, WorkingLayerTest, testing::Values(Image::Kind::Directory, Image::Kind::Erofs),
                         [](const auto& kind) { return kind.param == Image::Kind::Erofs ? "Erofs" : "Directory"; });

TEST(DamagedImageTest, TheKernelsRefusalIsAnError)
{
    COPPICE_NEEDS(Root, Erofs, MkfsErofs, LoopDevices);
    const test::TempDir directory;
    directory.write("tree/file", std::string(10000, 'x'));
    ASSERT_EQ(test::run_program({"mkfs.erofs", directory / "image", directory / "tree"}), 0);
    std::string bytes = directory.read("image");
    std::fill(bytes.begin() + 1024 + 4, bytes.begin() + 1024 + 128, '\xff'); // all but the magic
    bytes[1024 + 12] = 12;
    std::fill(bytes.begin() + 1024 + 36, bytes.begin() + 1024 + 40, '\0'); // no blocks: not cut short
    directory.write("image", bytes);
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, directory / "image", value_of(Image::open(directory / "image")).mount()));
}

} // namespace
} // namespace coppice::vdisk
