// Shortcuts of deep stacks: they change nothing that is seen.

#include "../../../src/store/connection.h"
#include "coppice/store/collect.h"
#include "coppice/store/fsck.h"
#include "coppice/vdisk/flattener.h"
#include "snapshot_fixture.h"

#include <fstream>
#include <random>
#include <sys/xattr.h>

namespace coppice::vdisk::test {
namespace {

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
        EXPECT_TRUE(value_of(flattener.flatten_all()).failed.empty());
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
        EXPECT_EQ(value_of(flattener.flatten_all()).made, 0U);
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
    EXPECT_EQ(value_of(Flattener(*node_->store, node_->trees, {.in_directory = 13, .layers = 64}).flatten_all()).made,
              0U);
    EXPECT_EQ(layers(), 13U);
    EXPECT_EQ(value_of(Flattener(*node_->store, node_->trees, {.in_directory = 13, .layers = 12}).flatten_all()).made,
              2U);
    EXPECT_EQ(layers(), 3U);
}

TEST_F(SnapshotTest, FlatteningEndsInTheMiddleOfAShortcut)
{
    value_of(node_->working.create("a", base_));
    std::vector<SnapshotId> line;
    for (unsigned i = 0; i < 4; ++i) {
        in_layer("a", [&](const std::string& root) { write_text(cat(root, "/etc/f", i), noise(1'000'000, i)); });
        line.push_back(freeze("a"));
    }
    value_of(node_->sealer.seal(line.back()));
    Flattener flattener{*node_->store, node_->trees, {.in_directory = 1, .layers = 1}};
    int asked = 0;
    EXPECT_EQ(value_of(flattener.flatten(line.back(), [&] { return ++asked < 3; })), 0U);
    EXPECT_EQ(asked, 4); // once before it, twice by what writes it, and once whether that was the reason
    EXPECT_EQ(value_of(flattener.flatten(line.back())), 1U);
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
    fs::rename(directory_ / metadata, directory_ / "metadata"); // it is not there at all
    EXPECT_EQ(value_of(node_->mounts->open(id, "test")).layers, 3U);
    fs::rename(directory_ / "metadata", directory_ / metadata);
    EXPECT_EQ(value_of(node_->mounts->open(id, "test")).layers, 2U);
    EXPECT_EQ(mounted(id), lines);
    value_of(node_->mounts->release("test"));
    value_of(node_->working.rollback("a", base_));
    EXPECT_TRUE(succeeds(node_->sealer.remove(id)));
    EXPECT_EQ(value_of(store::collect(*node_->store, {.grace_seconds = 0})).removed_layers, 2U);
    EXPECT_FALSE(directory_.exists(metadata));
}

TEST_F(SnapshotTest, MergingAndFlatteningSignOnlyWhatWasSigned)
{
    value_of(node_->working.create("a", base_));
    std::vector<SnapshotId> line;
    for (const char* const text : {"one", "two", "three"}) {
        in_layer("a", [&](const std::string& root) { write_text(root + "/etc/motd", text); });
        line.push_back(freeze("a"));
    }
    value_of(node_->sealer.seal(line.back()));
    value_of(node_->store->write([](store::Txn& txn) { // one bit: 3 becomes 2
        return txn.db().run("UPDATE snapshot SET layer = 2 WHERE layer = 3");
    }));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "something else",
                         node_->trees.merge(line.back(), base_, {.author = "t", .message = ""})));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "something else", node_->trees.add_shortcut(line.back(), base_)));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "something else", node_->mounts->open(line.back(), "test")));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "something else", node_->trees.stack_of(line.back())));
}

} // namespace
} // namespace coppice::vdisk::test
