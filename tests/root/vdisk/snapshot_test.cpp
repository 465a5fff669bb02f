// Snapshots and working layers as the kernel shows them.

#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/store/collect.h"
#include "overlay.h"
#include "snapshot_fixture.h"

#include <sys/stat.h>
#include <sys/xattr.h>

namespace coppice::vdisk::test {
namespace {

TEST_F(SnapshotTest, ASealedSnapshotIsMountedAsItIs)
{
    const auto stacked = value_of(node_->mounts->open(base_, "test", {.devices = false, .set_uid = true}));
    EXPECT_EQ(stacked.how, "EROFS from files");
    EXPECT_EQ(value_of(os::read_file(stacked.mount.get(), "etc/motd")), "original");
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "motd", os::open_at(stacked.mount.get(), "etc/motd", O_WRONLY)));
    EXPECT_EQ(mounted(base_), merged(base_));
}

TEST_F(SnapshotTest, LoopDevicesDoTheSame)
{
    COPPICE_NEEDS(LoopDevices);
    const auto wanted = mounted(base_);
    start(LayerPath::Loops);
    EXPECT_EQ(value_of(node_->mounts->open(base_, "first")).how, "EROFS through loop devices");
    EXPECT_EQ(mounted(base_), wanted);
}

TEST_F(SnapshotTest, AMountedLayerIsShared)
{
    const auto one = value_of(node_->mounts->open(base_, "one")), two = value_of(node_->mounts->open(base_, "two"));
    ASSERT_EQ(one.shared.size(), 1U);
    EXPECT_EQ(one.shared, two.shared);
    EXPECT_EQ(value_of(os::find_status(one.mount.get(), "."))->st_dev,
              value_of(os::find_status(two.mount.get(), "."))->st_dev);
}

TEST_F(SnapshotTest, WriteFreezeBranchRollback)
{
    value_of(node_->working.create("a", base_));
    in_layer("a", [](const std::string& root) { write_text(root + "/etc/motd", "one"); });
    const auto one = freeze("a");
    in_layer("a", [](const std::string& root) {
        EXPECT_EQ(read_text(root + "/etc/motd"), "one");
        write_text(root + "/etc/motd", "two");
    });
    const auto two = freeze("a");
    value_of(node_->working.create("b", one));
    in_layer("b", [](const std::string& root) { EXPECT_EQ(read_text(root + "/etc/motd"), "one"); });
    in_layer("a", [](const std::string& root) { write_text(root + "/etc/motd", "lost"); });
    value_of(node_->working.rollback("a", base_));
    in_layer("a", [](const std::string& root) { EXPECT_EQ(read_text(root + "/etc/motd"), "original"); });
    const auto discarded = [&] {
        const auto names = value_of(os::list_directory(os::kCwd, directory_ / "store/working/a"));
        return std::count_if(names.begin(), names.end(),
                             [](const std::string& name) { return name.starts_with(".discarded-"); });
    };
    EXPECT_EQ(discarded(), 2); // what was rolled back waits for nobody
    value_of(node_->working.sweep());
    EXPECT_EQ(discarded(), 0);
    EXPECT_EQ(text_in(one, "etc/motd"), "one");
    EXPECT_EQ(text_in(two, "etc/motd"), "two");
    EXPECT_EQ(snapshots(), 2U);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "child", node_->sealer.remove(one)));
    EXPECT_TRUE(succeeds(node_->sealer.remove(two)));
    EXPECT_FALSE(directory_.exists(cat("store/frozen/", two.hex())));
}

TEST_F(SnapshotTest, TheKernelShowsWhatTheTreesSay)
{
    value_of(node_->working.create("a", base_));
    in_layer("a", change_all_sorts);
    const auto first = freeze("a");
    in_layer("a", [](const std::string& root) {
        fs::remove(root + "/dir/three");
        fs::remove(root + "/etc/same");
        fs::remove(root + "/renamed");
        fs::create_directory(root + "/renamed");
        write_text(root + "/renamed/x", "x");
    });
    const auto second = freeze("a");
    const auto frozen = mounted(second);
    EXPECT_EQ(frozen, merged(second));
    EXPECT_FALSE(frozen.contains("/etc/doomed"));
    EXPECT_FALSE(frozen.contains("/dir/one"));

    value_of(node_->sealer.make_durable(second));
    EXPECT_EQ(state_of(first), store::SnapshotState::Durable);
    value_of(node_->sealer.seal(second));
    EXPECT_EQ(state_of(first), store::SnapshotState::Sealed);
    // "changed" in etc/motd, 5000 bytes in etc/new, "3" in dir/three
    EXPECT_EQ(
        value_of(node_->store->read([&](const store::View& view) { return store::get_snapshot(view, first); })).bytes,
        7U + 5000U + 1U);
    EXPECT_EQ(value_of(node_->sealer.remove_sealed_directories()), 2U);
    EXPECT_EQ(mounted(second), frozen);
    EXPECT_EQ(merged(second), frozen);

    const auto flat = value_of(node_->trees.merge(second, {}, {.author = "tester", .message = "flat"}));
    EXPECT_FALSE(flat.parent);
    EXPECT_EQ(mounted(flat.id), frozen);
    const auto joined = value_of(node_->trees.merge(second, base_, {.author = "tester", .message = "joined"}));
    EXPECT_EQ(joined.parent, base_);
    EXPECT_EQ(mounted(joined.id), frozen);
    value_of(node_->trees.diff(second, joined.id, [](const Change& change) -> Result<> {
        ADD_FAILURE() << change.path;
        return {};
    }));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not an ancestor", node_->trees.merge(first, second, {"t", ""})));
}

TEST_F(SnapshotTest, NothingWrittenIsNoLayer)
{
    value_of(node_->working.create("a", base_));
    const auto empty = freeze("a");
    const auto before = mounted(empty);
    value_of(node_->sealer.seal(empty));
    EXPECT_FALSE(
        value_of(node_->store->read([&](const store::View& view) { return store::get_snapshot(view, empty); })).layer);
    EXPECT_EQ(mounted(empty), before);
    EXPECT_EQ(before, mounted(base_));
}

TEST_F(SnapshotTest, FourHundredDeep)
{
    value_of(node_->working.create("a", base_));
    for (int i = 0; i < 400; ++i) {
        write_text(directory_ / cat("store/working/a/layer/upper/f", i), std::to_string(i));
        freeze("a");
    }
    const auto lines = mounted(below("a"));
    EXPECT_EQ(lines.size(), 400U + mounted(base_).size());
    EXPECT_EQ(lines, merged(below("a")));
    in_layer("a", [](const std::string& root) {
        EXPECT_EQ(read_text(root + "/f0"), "0");
        EXPECT_EQ(read_text(root + "/f399"), "399");
    });
    for (int i = 400; i < 501; ++i)
        freeze("a");
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "merge some", node_->mounts->open(below("a"), "test")));
}

TEST_F(SnapshotTest, TheOptionStringOfOldKernelsTakesFiveHundred)
{
    const auto space = value_of(os::MountSpace::make(node_->store->directory()));
    OverlayPlan plan;
    plan.by_option_string = true;
    value_of(space.run([&]() -> Result<> {
        for (int i = 0; i < 500; ++i) {
            plan.lowers.push_back(cat("lower", i));
            TRY(os::make_directory(os::kCwd, plan.lowers.back(), 0755));
            TRY(os::make_directory(os::kCwd, cat(plan.lowers.back(), "/d", i), 0755));
        }
        return {};
    }));
    const auto mount = value_of(make_overlay(space, plan, os::mount_attr::kReadOnly));
    EXPECT_EQ(value_of(os::list_directory(mount.get(), ".")).size(), 500U);
    plan.lowers.emplace_back("lower0");
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "501 layers", make_overlay(space, plan, 0)));
}

TEST_F(SnapshotTest, AnInstanceSeesItsOwnIdsAndTheLayerHoldsThem)
{
    COPPICE_NEEDS(UserNamespaces, IdMappedMounts);
    value_of(node_->working.create("a", base_));
    in_layer("a", [](const std::string& root) { write_text(root + "/etc/motd", "one"); });
    freeze("a");
    node_.reset(); // a user namespace is made by a program of one thread
    const os::UserMapping mapping{.uids = {{0, 1'000'000, 65536}}, .gids = {{0, 1'000'000, 65536}}};
    const auto user_namespace = value_of(os::make_user_namespace(mapping));
    start();
    {
        const auto stacked =
            value_of(node_->mounts->open_working("a", "instance", {.ids = InstanceIds{&user_namespace, mapping}}));
        EXPECT_EQ(stacked.layers, 2U);
        EXPECT_EQ(value_of(os::find_status(stacked.mount.get(), "etc/motd"))->st_uid, 1'000'001U);
        EXPECT_EQ(value_of(os::find_status(stacked.mount.get(), "dir/one"))->st_uid, 1'000'001U);
        value_of(os::write_all(value_of(os::open_at(stacked.mount.get(), "dir/one", O_WRONLY | O_APPEND)).get(), "+",
                               "dir/one"));
    }
    value_of(node_->mounts->release("instance"));
    EXPECT_EQ(value_of(os::find_status(os::kCwd, directory_ / "store/working/a/layer/upper/dir/one"))->st_uid, 1U);
}

TEST_F(SnapshotTest, APlantedRedirectIsNotFollowed)
{
    value_of(node_->working.create("a", base_));
    const std::string planted = directory_ / "store/working/a/layer/upper/planted";
    fs::create_directory(planted);
    ASSERT_EQ(::setxattr(planted.c_str(), "trusted.overlay.redirect", "/dir", 4, 0), 0);
    in_layer("a", [](const std::string& root) {
        EXPECT_NE(::access((root + "/planted/one").c_str(), F_OK), 0);
        EXPECT_TRUE(fs::exists(root + "/dir/one")) << "the test looks at the wrong place";
    });
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "redirect", node_->sealer.seal(freeze("a"))));
}

} // namespace
} // namespace coppice::vdisk::test
