// Needs: root, overlayfs, EROFS from files (Linux 6.12) or loop devices.

#include "coppice/os/file.h"
#include "coppice/os/mount.h"
#include "coppice/store/collect.h"
#include "coppice/store/fsck.h"
#include "coppice/store/ingest.h"
#include "coppice/store/seal.h"
#include "coppice/store/vdisk.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "coppice/vdisk/flattener.h"
#include "coppice/vdisk/ingest_sink.h"
#include "coppice/vdisk/read_tree.h"
#include "coppice/vdisk/sealer.h"
#include "coppice/vdisk/snapshot_mounts.h"
#include "coppice/vdisk/snapshot_trees.h"
#include "coppice/vdisk/working_layers.h"
#include "layer_fixture.h"
#include "overlay.h"
#include "working_files.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace coppice::vdisk {
namespace {

namespace fs = std::filesystem;
using namespace coppice::vdisk::test;
using coppice::test::fails_as;
using coppice::test::read_text;
using coppice::test::succeeds;
using coppice::test::TempDir;
using coppice::test::write_text;
using store::SnapshotId;

struct TextSink final : ByteSink {
    Result<> write(std::string_view bytes) override
    {
        text += bytes;
        return {};
    }
    std::string text;
};

/// What a process of ours has open.
struct Node {
    explicit Node(const std::string& root, LayerPath best = LayerPath::Files)
        : store{value_of(store::Store::open(root))}, mounts{value_of(SnapshotMounts::make(*store, best))},
          working{*store, *mounts}, sealer{*store}, trees{*store, sealer}
    {
        value_of(mounts->forget_dead());
        recovered = value_of(working.recover());
        unknown = value_of(sealer.recover());
    }
    std::unique_ptr<store::Store> store;
    std::unique_ptr<SnapshotMounts> mounts;
    WorkingLayers working;
    Sealer sealer;
    SnapshotTrees trees;
    WorkingLayers::Recovered recovered;
    std::vector<std::string> unknown;
};

std::string wanted_step; // the child ends there

void die_at_step(std::string_view step)
{
    if (step == wanted_step) ::raise(SIGKILL);
}

class SnapshotTest : public testing::Test {
protected:
    void SetUp() override
    {
        COPPICE_NEEDS(Root, Overlayfs, Erofs);
        directory_.make_directory("m");
        start();
        base_ = import_base();
    }
    void start(LayerPath best = LayerPath::Files)
    {
        node_.reset();
        node_ = std::make_unique<Node>(directory_ / "store", best);
    }

    SnapshotId import_base()
    {
        TestTree t;
        t.directory("etc");
        t.file("etc/motd", "original");
        t.file("etc/doomed", "x");
        t.directory("dir");
        t.file("dir/one", noise(300'000, 1));
        t.file("dir/two", "2");
        t.link("link", "etc/motd");
        const auto ingest = value_of(store::Ingest::begin(*node_->store, {.key = "base"}));
        IngestSink sink{*ingest};
        value_of(write_layer(t.tree, sink, sink));
        const auto layer = value_of(ingest->finish());
        const auto id = security::make_random<SnapshotId>();
        value_of(node_->store->write([&](store::Txn& txn) -> Result<> {
            const auto vdisk = TRY(store::add_vdisk(txn, "debian"));
            TRY(store::add_snapshot(
                txn, {.id = id, .vdisk = vdisk.id, .state = store::SnapshotState::Durable, .author = "tester"}));
            TRY(store::seal_snapshot(txn, id, &layer, node_->store->node_key()));
            return {};
        }));
        return id;
    }

    /// Does something in the working layer, which is mounted at m/ meanwhile.
    void in_layer(const std::string& name, const std::function<void(const std::string& root)>& body) const
    {
        value_of(node_->mounts->attach_working(name, directory_ / "m"));
        body(directory_ / "m");
        value_of(node_->mounts->detach(directory_ / "m"));
    }
    SnapshotId freeze(const std::string& name) const
    {
        return value_of(node_->working.freeze(name, {.author = "tester", .message = "m", .config = {}})).id;
    }
    /// What the kernel shows of a snapshot.
    std::map<std::string, std::string> mounted(const SnapshotId& id) const
    {
        const auto stacked = value_of(node_->mounts->open(id, "test"));
        auto tree = value_of(read_tree(stacked.mount));
        auto lines = describe(tree);
        value_of(node_->mounts->release("test"));
        return lines;
    }
    /// What our own reading of the layers says.
    std::map<std::string, std::string> merged(const SnapshotId& id) const
    {
        auto tree = value_of(merge_trees(value_of(node_->trees.stack_of(id))));
        return describe(tree);
    }
    std::string text_in(const SnapshotId& id, const std::string& path) const
    {
        TextSink out;
        value_of(SnapshotTrees::copy_file(value_of(node_->trees.stack_of(id)), path, out));
        return out.text;
    }
    store::SnapshotState state_of(const SnapshotId& id) const
    {
        return value_of(node_->store->read([&](const store::View& view) { return store::get_snapshot(view, id); }))
            .state;
    }
    std::size_t snapshots() const
    {
        return value_of(node_->store->read([&](const store::View& view) { return store::descendants(view, base_); }))
            .size();
    }
    SnapshotId below(const std::string& name) const
    {
        return value_of(node_->store->read([&](const store::View& view) { return store::get_working(view, name); }))
            .snapshot;
    }

    /// A process of its own does `body` and is killed at `step`; then the next one starts.
    void killed_at(const std::string& step, const std::function<void(Node&)>& body)
    {
        node_.reset();
        const pid_t child = ::fork();
        if (child == 0) {
            try {
                Node node{directory_ / "store"};
                wanted_step = step;
                on_step = &die_at_step;
                body(node);
            } catch (const std::exception& error) {
                std::fprintf(stderr, "%s\n", error.what());
                ::_exit(2);
            }
            ::_exit(1);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << step << " was not reached: " << status;
        start();
    }

    /// What a power cut may do: the database knows all that `body` did, the directories none of it.
    void with_directories_taken_back(const std::function<void()>& body)
    {
        const auto copy = [&](const std::string& from, const std::string& to) {
            for (const char* const name : {"working", "frozen"}) {
                fs::remove_all(directory_ / cat(to, "/", name));
                const std::string command =
                    cat("mkdir -p ", directory_ / to, " && cp -a ", directory_ / from, "/", name, " ", directory_ / to);
                ASSERT_EQ(std::system(command.c_str()), 0);
            }
        };
        copy("store", "before");
        body();
        node_.reset();
        copy("before", "store");
        start();
        EXPECT_TRUE(node_->unknown.empty());
        EXPECT_TRUE(node_->recovered.unknown.empty());
    }

    TempDir directory_;
    std::unique_ptr<Node> node_;
    SnapshotId base_;
};

void change_all_sorts(const std::string& root)
{
    write_text(root + "/etc/motd", "changed");
    write_text(root + "/etc/new", noise(5000, 7));
    fs::remove(root + "/etc/doomed");
    fs::remove_all(root + "/dir");
    fs::create_directory(root + "/dir"); // opaque
    write_text(root + "/dir/three", "3");
    fs::rename(root + "/link", root + "/renamed");
    ASSERT_EQ(::setxattr((root + "/etc/new").c_str(), "user.test", "v", 1, 0), 0);
    fs::create_hard_link(root + "/etc/new", root + "/etc/same");
    ASSERT_EQ(::mkfifo((root + "/fifo").c_str(), 0600), 0);
}

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

TEST_F(SnapshotTest, ARestartFindsTheMounts)
{
    value_of(node_->working.create("a", base_));
    directory_.make_directory("n");
    value_of(node_->mounts->attach_working("a", directory_ / "m"));
    value_of(node_->mounts->attach(base_, directory_ / "n"));
    start();
    EXPECT_EQ(value_of(node_->mounts->records()).size(), 2U);
    write_text(directory_ / "m/etc/motd", "still there");
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "mounted at", node_->working.freeze("a", {"t", "", ""})));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "mounted there", node_->mounts->attach(base_, directory_ / "m")));
    {
        const auto busy = value_of(os::open_at(os::kCwd, directory_ / "m/etc", O_RDONLY));
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, "in use", node_->mounts->detach(directory_ / "m")));
    }
    EXPECT_TRUE(succeeds(node_->mounts->detach(directory_ / "m")));
    EXPECT_EQ(text_in(freeze("a"), "etc/motd"), "still there");
    value_of(os::detach_mount_at(directory_ / "n")); // somebody else took it off
    start();
    EXPECT_TRUE(value_of(node_->mounts->records()).empty());
    EXPECT_TRUE(value_of(node_->store->read([](const store::View& view) { return store::leases(view); })).empty());
}

TEST_F(SnapshotTest, AFrozenDirectoryStaysWhileItIsMounted)
{
    value_of(node_->working.create("a", base_));
    in_layer("a", change_all_sorts);
    const auto id = freeze("a");
    value_of(node_->mounts->attach(id, directory_ / "m"));
    value_of(node_->sealer.seal(id));
    EXPECT_EQ(value_of(node_->sealer.remove_sealed_directories()), 0U);
    EXPECT_EQ(directory_.read("m/etc/motd"), "changed");
    value_of(node_->mounts->detach(directory_ / "m"));
    EXPECT_EQ(value_of(node_->sealer.remove_sealed_directories()), 1U);
    EXPECT_EQ(text_in(id, "etc/motd"), "changed");
}

TEST_F(SnapshotTest, WhatAPowerCutMayHaveDamagedIsNotSealed)
{
    value_of(node_->working.create("a", base_));
    in_layer("a", change_all_sorts);
    const auto id = freeze("a");
    ASSERT_EQ(::setxattr((directory_ / cat("store/frozen/", id.hex())).c_str(), "trusted.coppice.boot", "other", 5, 0),
              0);
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "holes", node_->sealer.make_durable(id)));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "holes", node_->sealer.seal(id)));
    EXPECT_EQ(value_of(node_->sealer.seal_all()).doubtful.size(), 1U);
    value_of(node_->sealer.make_durable(id, Sealer::Doubtful::Accept));
    EXPECT_EQ(value_of(node_->sealer.seal_all()).done.size(), 1U);
}

TEST_F(SnapshotTest, APowerCutTakesBackAFreeze)
{
    value_of(node_->working.create("a", base_));
    in_layer("a", [](const std::string& root) { write_text(root + "/etc/motd", "one"); });
    SnapshotId id, next;
    with_directories_taken_back([&] {
        id = freeze("a");
        in_layer("a", [](const std::string& root) { write_text(root + "/etc/motd", "two"); });
        next = freeze("a");
    });
    EXPECT_EQ(below("a"), base_); // as before, with what was in it
    in_layer("a", [](const std::string& root) { EXPECT_EQ(read_text(root + "/etc/motd"), "one"); });
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "nothing of it is left", node_->sealer.make_durable(id)));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "nothing of it is left",
                         node_->sealer.make_durable(next, Sealer::Doubtful::Accept)));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "nothing of it is left", node_->sealer.seal(next)));
    EXPECT_EQ(value_of(node_->sealer.seal_all()).doubtful.size(), 2U);
    EXPECT_TRUE(succeeds(node_->sealer.remove(next)));
    EXPECT_TRUE(succeeds(node_->sealer.remove(id)));
    EXPECT_EQ(text_in(freeze("a"), "etc/motd"), "one");
}

TEST_F(SnapshotTest, APowerCutDoesNotBringBackWhatWasSealedOrRolledBack)
{
    value_of(node_->working.create("a", base_));
    value_of(node_->working.create("b", base_));
    for (const char* const name : {"a", "b"})
        in_layer(name, [](const std::string& root) { write_text(root + "/etc/motd", "one"); });
    const auto other = freeze("b");
    SnapshotId id;
    with_directories_taken_back([&] {
        id = freeze("a");
        value_of(node_->sealer.seal(id));
        value_of(node_->working.rollback("b", base_));
    });
    EXPECT_EQ(below("a"), id);
    EXPECT_EQ(below("b"), base_);
    EXPECT_TRUE(fs::is_empty(directory_ / "store/working/a/layer/upper")); // it is in the snapshot
    in_layer("a", [](const std::string& root) { EXPECT_EQ(read_text(root + "/etc/motd"), "one"); });
    in_layer("b", [](const std::string& root) { EXPECT_EQ(read_text(root + "/etc/motd"), "original"); });
    EXPECT_TRUE(succeeds(node_->sealer.remove(other)));
}

TEST_F(SnapshotTest, AKillDuringAFreezeLosesNothing)
{
    value_of(node_->working.create("a", base_));
    std::size_t expected = 0;
    for (const char* const step : {"freeze noted", "freeze moved", "freeze renewed", "freeze committed"}) {
        SCOPED_TRACE(step);
        in_layer("a", [&](const std::string& root) { write_text(root + "/etc/motd", step); });
        killed_at(step, [&](Node& node) { value_of(node.working.freeze("a", {"tester", "", ""})); });
        if (HasFatalFailure()) return;
        if (std::string_view{step} == "freeze committed") ++expected;
        EXPECT_EQ(snapshots(), expected);
        EXPECT_EQ(node_->recovered.settled.size(), 1U);
        EXPECT_TRUE(node_->unknown.empty());
        in_layer("a", [&](const std::string& root) { EXPECT_EQ(read_text(root + "/etc/motd"), step); });
        EXPECT_EQ(text_in(freeze("a"), "etc/motd"), step);
        ++expected;
    }
}

TEST_F(SnapshotTest, AKillDuringARollbackLeavesTheOldOrTheNew)
{
    value_of(node_->working.create("a", base_));
    in_layer("a", [](const std::string& root) { write_text(root + "/etc/motd", "frozen"); });
    freeze("a");
    in_layer("a", [](const std::string& root) { write_text(root + "/etc/motd", "not frozen"); });
    for (const char* const step : {"rollback noted", "rollback moved", "rollback renewed", "rollback committed"}) {
        SCOPED_TRACE(step);
        killed_at(step, [&](Node& node) { value_of(node.working.rollback("a", base_)); });
        if (HasFatalFailure()) return;
        const bool done = std::string_view{step} == "rollback committed";
        in_layer("a", [&](const std::string& root) {
            EXPECT_EQ(read_text(root + "/etc/motd"), done ? "original" : "not frozen");
        });
        EXPECT_EQ(below("a") == base_, done);
        EXPECT_FALSE(directory_.exists("store/working/a/layer/old"));
    }
}

TEST_F(SnapshotTest, AKillDuringSealingIsGoneOnFrom)
{
    value_of(node_->working.create("a", base_));
    for (const char* const step : {"seal written", "seal staged", "seal committed"}) {
        SCOPED_TRACE(step);
        in_layer("a", [&](const std::string& root) { write_text(root + "/etc/motd", step); });
        const auto id = freeze("a");
        killed_at(step, [&](Node& node) { value_of(node.sealer.seal(id)); });
        if (HasFatalFailure()) return;
        EXPECT_EQ(state_of(id) == store::SnapshotState::Sealed, std::string_view{step} == "seal committed");
        EXPECT_EQ(text_in(id, "etc/motd"), step);
        EXPECT_TRUE(succeeds(node_->sealer.seal(id)));
        value_of(node_->sealer.remove_sealed_directories());
        EXPECT_EQ(text_in(id, "etc/motd"), step);
    }
}

TEST_F(SnapshotTest, AKillDuringARemovalIsFinishedOrForgotten)
{
    value_of(node_->working.create("a", base_));
    for (const char* const step : {"removal noted", "removal committed", "frozen renamed"}) {
        SCOPED_TRACE(step);
        value_of(node_->working.rollback("a", base_));
        in_layer("a", change_all_sorts);
        const auto id = freeze("a");
        value_of(node_->working.rollback("a", base_));
        killed_at(step, [&](Node& node) { value_of(node.sealer.remove(id)); });
        if (HasFatalFailure()) return;
        const bool there = std::string_view{step} == "removal noted";
        EXPECT_EQ(directory_.exists(cat("store/frozen/", id.hex())), there);
        EXPECT_EQ(fs::is_empty(directory_ / "store/frozen"), !there);
        if (there) {
            EXPECT_EQ(text_in(id, "etc/motd"), "changed");
            value_of(node_->sealer.remove(id));
        }
    }
    for (const char* const step : {"remove noted", "remove committed"}) {
        SCOPED_TRACE(step);
        killed_at(step, [&](Node& node) { value_of(node.working.remove("a")); });
        if (HasFatalFailure()) return;
        EXPECT_EQ(directory_.exists("store/working/a"), std::string_view{step} == "remove noted");
    }
}

TEST_F(SnapshotTest, DirectoriesThatNoRowKnowsAreKept)
{
    directory_.write("store/frozen/0123456789abcdef0123456789abcdef/file", "x");
    directory_.write("store/working/lost/layer/upper/file", "x");
    start();
    EXPECT_EQ(node_->unknown, std::vector<std::string>{"frozen/0123456789abcdef0123456789abcdef"});
    EXPECT_EQ(node_->recovered.unknown, std::vector<std::string>{"working/lost"});
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "does not know it", node_->working.create("lost", base_)));
    EXPECT_EQ(directory_.read("store/working/lost/layer/upper/file"), "x");
}

/// One random change; what cannot be done is not.
void change_something(const std::string& root, std::mt19937& random)
{
    const auto pick = [&](std::initializer_list<const char*> from) { return *(from.begin() + random() % from.size()); };
    const auto path = [&] {
        std::string at = cat(root, '/', pick({"etc", "dir", "link", "new"}));
        const auto depth = random() % 3;
        if (depth > 0) at += cat('/', pick({"one", "two", "motd", "sub"}));
        if (depth > 1) at += cat('/', pick({"x", "y"}));
        return at;
    };
    const std::string one = path(), two = path();
    std::error_code ignored;
    switch (random() % 9) {
    case 0:
    case 1: std::ofstream{one, std::ios::app} << noise(random() % 100'000, static_cast<unsigned>(random())); break;
    case 2: fs::remove_all(one, ignored); break;
    case 3: fs::create_directories(one, ignored); break;
    case 4: fs::create_symlink("target", one, ignored); break;
    case 5: fs::rename(one, two, ignored); break;
    case 6: fs::create_hard_link(one, two, ignored); break;
    case 7: // of another type
        fs::remove_all(one, ignored);
        if (random() % 2 == 0)
            fs::create_directories(one, ignored);
        else
            std::ofstream{one} << "replaced";
        break;
    default: (void)::lsetxattr(one.c_str(), "user.test", "value", random() % 5, 0);
    }
}

TEST_F(SnapshotTest, FlatteningChangesNothingThatIsSeen)
{
    std::mt19937 random{7};
    for (int history = 0; history < 6; ++history) {
        SCOPED_TRACE(history);
        const std::string name = cat("h", history);
        value_of(node_->working.create(name, base_));
        std::vector<SnapshotId> line;
        Flattener flattener{*node_->store, node_->trees, {.in_directory = 1, .layers = 1}};
        std::map<SnapshotId, std::map<std::string, std::string>> before;
        for (int i = 0; i < 18; ++i) {
            in_layer(name, [&](const std::string& root) {
                for (auto left = random() % 6; left > 0; --left)
                    change_something(root, random);
            });
            line.push_back(freeze(name));
            before[line.back()] = mounted(line.back());
            if (history % 2 == 0) continue; // all at the end
            value_of(node_->sealer.seal(line.back()));
            value_of(flattener.flatten(line.back()));
        }
        value_of(node_->sealer.seal(line.back()));
        value_of(flattener.flatten_all());
        for (const auto& [id, lines] : before) {
            EXPECT_EQ(mounted(id), lines);
            EXPECT_EQ(merged(id), lines);
        }
        EXPECT_LE(value_of(node_->mounts->open(line.back(), "test")).layers, 5U); // 8 + 4 + 2 + 1, and the base
    }
    EXPECT_EQ(value_of(store::fsck(*node_->store, store::FsckLevel::Full)).exit_status(), 0);
}

TEST_F(SnapshotTest, WhatWasMadeAndRemovedAboveTheBaseLeavesNoName)
{
    value_of(node_->working.create("a", base_));
    in_layer("a", [](const std::string& root) {
        fs::create_directory(root + "/made");
        write_text(root + "/made/gone", "x");
    });
    freeze("a");
    in_layer("a", [](const std::string& root) { fs::remove(root + "/made/gone"); });
    const auto id = freeze("a");
    const auto lines = mounted(id);
    EXPECT_EQ(mounted(value_of(node_->trees.merge(id, base_, {.author = "tester", .message = ""})).id), lines);
    EXPECT_EQ(value_of(node_->trees.add_shortcut(id, base_)), true);
    EXPECT_EQ(mounted(id), lines);
}

TEST_F(SnapshotTest, ADeepStackIsShortWhereItPays)
{
    value_of(node_->working.create("a", base_));
    Flattener flattener{*node_->store, node_->trees};
    std::vector<SnapshotId> line;
    const auto layers = [&] { return value_of(node_->mounts->open(line.back(), "test")).layers; };
    for (int i = 0; i < 40; ++i) {
        write_text(directory_ / cat("store/working/a/layer/upper/f", i), std::to_string(i));
        line.push_back(freeze("a"));
        value_of(node_->sealer.seal(line.back()));
        const auto made = value_of(flattener.flatten(line.back()));
        EXPECT_TRUE(i >= 7 || made == 0) << "it was not too deep";
        EXPECT_LE(layers(), 8U);
        EXPECT_EQ(value_of(flattener.flatten_all()), 0U);
    }
    EXPECT_EQ(mounted(line.back()).size(), 40 + mounted(base_).size());

    // Each layer in a directory of its own: look-ups cost nothing more.
    value_of(node_->working.create("b", base_));
    line.clear();
    for (int i = 0; i < 12; ++i) {
        in_layer("b", [&](const std::string& root) { fs::create_directory(cat(root, "/dir/", i)); });
        line.push_back(freeze("b"));
    }
    value_of(node_->sealer.seal(line.back()));
    EXPECT_EQ(value_of(Flattener(*node_->store, node_->trees, {.in_directory = 13, .layers = 64}).flatten_all()), 0U);
    EXPECT_EQ(layers(), 13U);
    EXPECT_EQ(value_of(Flattener(*node_->store, node_->trees, {.in_directory = 13, .layers = 12}).flatten_all()), 2U);
    EXPECT_EQ(layers(), 3U);
}

TEST_F(SnapshotTest, AShortcutGoesWithItsSnapshotAndADamagedOneStopsNobody)
{
    value_of(node_->working.create("a", base_));
    in_layer("a", change_all_sorts);
    freeze("a");
    in_layer("a", [](const std::string& root) { write_text(root + "/dir/four", noise(200'000, 4)); });
    const auto id = freeze("a");
    value_of(node_->sealer.seal(id));
    const auto lines = mounted(id);
    killed_at("flatten staged", [&](Node& node) { value_of(node.trees.add_shortcut(id, base_)); });
    EXPECT_EQ(value_of(node_->mounts->open(id, "test")).layers, 3U);
    EXPECT_EQ(value_of(node_->trees.add_shortcut(id, base_)), true);
    EXPECT_EQ(value_of(node_->mounts->open(id, "test")).layers, 2U);

    const auto all = value_of(node_->store->read([](const store::View& view) { return store::shortcuts(view); }));
    ASSERT_EQ(all.size(), 1U);
    const std::string metadata = cat("store/layers/", all[0].layer.hex(), "/metadata");
    fs::permissions(directory_ / metadata, fs::perms::owner_write, fs::perm_options::add);
    fs::resize_file(directory_ / metadata, 100);
    EXPECT_EQ(value_of(node_->mounts->open(id, "test")).layers, 3U);
    EXPECT_EQ(mounted(id), lines);
    EXPECT_EQ(value_of(store::fsck(*node_->store, store::FsckLevel::Full)).exit_status(), 4);
    value_of(store::fsck(*node_->store, store::FsckLevel::Repair));
    value_of(store::collect(*node_->store, {.grace_seconds = 0}));
    EXPECT_FALSE(directory_.exists(metadata));
    EXPECT_EQ(value_of(store::fsck(*node_->store, store::FsckLevel::Full)).exit_status(), 0);

    EXPECT_EQ(value_of(node_->trees.add_shortcut(id, base_)), true);
    EXPECT_EQ(value_of(store::collect(*node_->store, {.grace_seconds = 0})).trashed_layers, 0U);
    EXPECT_EQ(mounted(id), lines);
    value_of(node_->mounts->release("test"));
    value_of(node_->working.rollback("a", base_));
    EXPECT_TRUE(succeeds(node_->sealer.remove(id)));
    EXPECT_EQ(value_of(store::collect(*node_->store, {.grace_seconds = 0})).removed_layers, 2U);
    EXPECT_FALSE(directory_.exists(metadata));
}

} // namespace
} // namespace coppice::vdisk
