// Restarts, power cuts and kills at every step of working layers and sealing.

#include "coppice/os/mount.h"
#include "snapshot_fixture.h"

#include <sys/xattr.h>

namespace coppice::vdisk::test {
namespace {

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
        value_of(node_->sealer.sweep());
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

TEST_F(SnapshotTest, ABrokenBranchKeepsNobodyFromTheOthers)
{
    for (const char* const name : {"a", "b", "c"}) {
        value_of(node_->working.create(name, base_));
        in_layer(name, [](const std::string& root) { write_text(root + "/etc/motd", "written"); });
    }
    const std::string note = directory_ / "store/working/a/step";
    fs::create_symlink("nonsense", note);
    fs::create_symlink("nonsense", directory_ / "store/working/c/step");
    start();
    ASSERT_EQ(node_->recovered.broken.size(), 2U);
    EXPECT_EQ(node_->recovered.broken.front().first, "a");
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "could not be recovered", node_->working.freeze("a", {"t", "", ""})));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "could not be recovered", node_->working.rollback("a", base_)));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "could not be recovered", node_->working.check_usable("a")));
    EXPECT_EQ(text_in(freeze("b"), "etc/motd"), "written");
    EXPECT_TRUE(succeeds(node_->working.remove("c")));
    EXPECT_FALSE(directory_.exists("store/working/c"));
    fs::remove(note); // somebody has looked into it
    EXPECT_TRUE(succeeds(node_->working.check_usable("a")));
    EXPECT_EQ(text_in(freeze("a"), "etc/motd"), "written");
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

} // namespace
} // namespace coppice::vdisk::test
