#include "../../../src/store/connection.h"
#include "../../../src/store/schema.h"
#include "coppice/store/fsck.h"
#include "coppice/store/shortcut.h"
#include "coppice/store/usage.h"
#include "support.h"

namespace coppice::store {
namespace {

using test::chunk_of;
using test::fails_as;
using test::import;
using test::make_vdisk;
using test::StoreFixture;
using test::succeeds;
using test::value_of;

/// A line of six sealed snapshots, the root first, and one shortcut over the upper four.
struct Line : StoreFixture {
    Line()
    {
        for (int i = 0; i < 6; ++i)
            all.push_back(import(*store, vdisk, {chunk_of(i)}, i == 0 ? std::nullopt : std::optional{all.back().id},
                                 std::to_string(i)));
        value_of(shorten(all[5], all[1]));
    }
    Result<> shorten(const Snapshot& top, const Snapshot& base)
    {
        const auto staged = test::stage(*store, {chunk_of(2), chunk_of(-7)}, "merged", "merged", false);
        merged = staged.layer().digest;
        return store->write([&](Txn& txn) { return add_shortcut(txn, top.id, base.id, staged, store->node_key()); });
    }
    std::vector<StackPart> parts(const SnapshotId& id, Shortcuts use = Shortcuts::Use) const
    {
        return value_of(store->read([&](const View& view) { return stack_parts(view, id, use); }));
    }
    void sql(const std::string& script)
    {
        value_of(store->write([&](Txn& txn) { return txn.db().run(script); }));
    }
    [[nodiscard]] FsckReport check(FsckLevel level) const { return value_of(fsck(*store, level)); }

    VdiskId vdisk = make_vdisk(*store);
    std::vector<Snapshot> all;
    LayerDigest merged;
};

TEST(ShortcutTest, StandsForTheLayersAboveItsBase)
{
    Line f;
    const auto parts = f.parts(f.all[5].id);
    ASSERT_EQ(parts.size(), 3U);
    EXPECT_EQ(parts[0].layer->digest, f.merged);
    EXPECT_EQ(parts[0].base, f.all[1].id);
    EXPECT_EQ(parts[1].snapshot, f.all[1].id);
    EXPECT_EQ(parts[2].snapshot, f.all[0].id);
    EXPECT_EQ(f.parts(f.all[5].id, Shortcuts::Ignore).size(), 6U);
    EXPECT_EQ(f.parts(f.all[4].id).size(), 5U);
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not an ancestor", f.shorten(f.all[1], f.all[5])));
    const auto other = import(*f.store, f.vdisk, {chunk_of(9)}, f.all[5].id, "other");
    EXPECT_EQ(f.parts(other.id).size(), 4U);
    EXPECT_EQ(value_of(f.store->read([](const View& view) { return in_use(view); })), std::vector{other.id});
}

TEST(ShortcutTest, IsKeptByCollectionAndGoesWithItsSnapshot)
{
    Line f;
    auto used = value_of(f.store->read([](const View& view) { return usage(view); }));
    EXPECT_EQ(used.shortcut_bytes, 64U << 10);
    EXPECT_EQ(used.unused_bytes, 0U);
    EXPECT_EQ(value_of(collect(*f.store, {.grace_seconds = 0})).trashed_layers, 0U);
    EXPECT_TRUE(f.directory.exists("store/layers/" + f.merged.hex() + "/metadata"));
    value_of(f.store->write([&](Txn& txn) { return remove_snapshot(txn, f.all[5].id); }));
    EXPECT_EQ(value_of(collect(*f.store, {.grace_seconds = 0})).removed_layers, 2U);
    EXPECT_FALSE(f.directory.exists("store/layers/" + f.merged.hex() + "/metadata"));
}

TEST(ShortcutTest, AnotherLayerInItsPlaceIsFound)
{
    Line f;
    EXPECT_EQ(f.check(FsckLevel::Crypto).exit_status(), 0);
    f.sql("UPDATE shortcut SET layer = (SELECT min(id) FROM layer)");
    EXPECT_EQ(f.check(FsckLevel::Crypto).exit_status(), 4);
    EXPECT_EQ(f.check(FsckLevel::Repair).exit_status(), 1); // what can be made again is just dropped
    EXPECT_EQ(f.check(FsckLevel::Crypto).exit_status(), 0);
    EXPECT_EQ(f.parts(f.all[5].id).size(), 6U);
}

TEST(ShortcutTest, ABaseBesideTheLineIsFound)
{
    Line f;
    const auto beside = import(*f.store, f.vdisk, {chunk_of(9)}, f.all[0].id, "beside");
    f.sql("UPDATE shortcut SET base = x'" + beside.id.hex() + "'");
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "leads nowhere",
                         f.store->read([&](const View& view) { return stack_parts(view, f.all[5].id); })));
    EXPECT_EQ(f.check(FsckLevel::Quick).exit_status(), 4);
    EXPECT_EQ(f.check(FsckLevel::Repair).exit_status(), 1);
    EXPECT_EQ(f.parts(f.all[5].id).size(), 6U);
}

TEST(ShortcutTest, AnOlderDatabaseGetsWhatItLacks)
{
    Line f;
    f.sql("PRAGMA foreign_keys=OFF; DROP TABLE shortcut; ALTER TABLE vdisk DROP COLUMN versions; "
          "CREATE TABLE before(id BLOB PRIMARY KEY, vdisk INTEGER, parent BLOB, layer INTEGER, state INTEGER, seq "
          "INTEGER, "
          "epoch INTEGER, created INTEGER, bytes INTEGER, author TEXT, message TEXT, config TEXT, manifest BLOB, "
          "envelope "
          "BLOB) STRICT, WITHOUT ROWID; "
          "INSERT INTO before SELECT s.id, vdisk, parent, layer, state, seq, epoch, created, bytes, author, message, "
          "config, manifest, envelope FROM snapshot s JOIN document d ON d.snapshot = s.id; "
          "DROP TABLE snapshot; DROP TABLE document; ALTER TABLE before RENAME TO snapshot; PRAGMA user_version = 1");
    f.reopen();
    EXPECT_EQ(f.parts(f.all[5].id).size(), 6U);
    EXPECT_TRUE(succeeds(f.shorten(f.all[5], f.all[1])));
    EXPECT_EQ(f.parts(f.all[5].id).size(), 3U);
    EXPECT_EQ(f.check(FsckLevel::Crypto).exit_status(), 0);
}

} // namespace
} // namespace coppice::store
