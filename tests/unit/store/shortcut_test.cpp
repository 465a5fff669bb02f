#include "../../../src/store/connection.h"
#include "../../../src/store/schema.h"
#include "at_step.h"
#include "coppice/store/fsck.h"
#include "coppice/store/shortcut.h"
#include "coppice/store/usage.h"
#include "support.h"

#include <chrono>

namespace coppice::store {
namespace {

using test::AtStep;
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
        return value_of(store->read([&](const View& view) { return stack_parts(view, store->manifests(), id, use); }));
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

TEST(ShortcutTest, IsCheckedChunkByChunkAndMayGoMeanwhile)
{
    Line f;
    std::vector<std::uint64_t> seen;
    std::size_t first = 0;
    {
        const AtStep at{"shortcuts read", [&] { first = seen.size(); }};
        const auto note = [&](std::uint64_t bytes) -> Result<> {
            seen.push_back(bytes);
            return {};
        };
        EXPECT_EQ(value_of(fsck(*f.store, FsckLevel::Full, note)).exit_status(), 0);
    }
    ASSERT_GT(seen.size(), first + 1);
    EXPECT_EQ(seen[first] - seen[first - 1], 64U << 10);
    EXPECT_EQ(seen[first + 1] - seen[first], 64U << 10);

    const AtStep at{"shortcuts read",
                    [&] { value_of(f.store->write([&](Txn& txn) { return remove_snapshot(txn, f.all[5].id); })); }};
    EXPECT_EQ(f.check(FsckLevel::Full).exit_status(), 0);
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
    EXPECT_EQ(f.parts(f.all[5].id).size(), 6U); // not used
    EXPECT_EQ(f.check(FsckLevel::Quick).exit_status(), 4);
    EXPECT_EQ(f.check(FsckLevel::Repair).exit_status(), 1);
    EXPECT_EQ(f.parts(f.all[5].id).size(), 6U);
}

/// What is mounted, merged and shortened is what was signed, whatever the rows say.
TEST(StackTest, RowsThatAManifestContradictsAreRefused)
{
    struct Damage {
        const char* name;
        std::string script;
        ErrorKind kind;
        const char* says;
        bool shortens; ///< the shortcut leads past it
    };
    const std::vector<Damage> damages{
        {"another layer", "UPDATE snapshot SET layer = layer + 1 WHERE seq = 3", ErrorKind::Corrupt, "something else",
         true},
        {"another layer below the shortcut", "UPDATE snapshot SET layer = 5 WHERE seq = 1", ErrorKind::Corrupt,
         "something else", false},
        {"a layer less", "UPDATE snapshot SET layer = NULL WHERE seq = 4", ErrorKind::Corrupt, "something else", true},
        {"another parent", "UPDATE snapshot SET parent = (SELECT id FROM snapshot WHERE seq = 2) WHERE seq = 4",
         ErrorKind::Corrupt, "something else", true},
        {"no parent", "UPDATE snapshot SET parent = NULL WHERE seq = 2", ErrorKind::Corrupt, "something else", false},
        {"another metadata digest", "UPDATE layer SET metadata = randomblob(32) WHERE id = 1", ErrorKind::Corrupt,
         "do not fit", false},
        {"a manifest of the node's, of another snapshot",
         "CREATE TEMP TABLE o AS SELECT manifest, envelope FROM snapshot JOIN document ON snapshot = id WHERE seq = 3; "
         "UPDATE snapshot SET manifest = randomblob(32) WHERE seq = 3; "
         "UPDATE snapshot SET manifest = (SELECT manifest FROM o) WHERE seq = 1; UPDATE document SET envelope = "
         "(SELECT envelope FROM o) WHERE snapshot = (SELECT id FROM snapshot WHERE seq = 1); DROP TABLE o",
         ErrorKind::Corrupt, "another one", false},
        {"a manifest that nobody signed",
         "UPDATE document SET envelope = CAST(replace(CAST(envelope AS TEXT), '\"keyid\":\"', '\"keyid\":\"0') AS "
         "BLOB) WHERE snapshot = (SELECT id FROM snapshot WHERE seq = 6)",
         ErrorKind::Denied, "no trusted key", true},
    };
    for (const Damage& damage : damages) {
        SCOPED_TRACE(damage.name);
        Line f;
        f.sql(damage.script);
        f.reopen();
        const auto refused = [&](Shortcuts use) {
            return f.store->read(
                [&](const View& view) { return stack_parts(view, f.store->manifests(), f.all[5].id, use); });
        };
        EXPECT_TRUE(fails_as(damage.kind, damage.says, refused(Shortcuts::Ignore)));
        if (damage.shortens)
            EXPECT_TRUE(succeeds(refused(Shortcuts::Use)));
        else
            EXPECT_TRUE(fails_as(damage.kind, damage.says, refused(Shortcuts::Use)));
    }
}

TEST(StackTest, BelowTheFirstOnlyWhatItsChildNamesCounts)
{
    Line f; // a manifest for the right snapshot, with the right layer, and a digest that fits: but not the one
    auto manifest = value_of(f.store->read([&](const View& view) { return expected_manifest(view, f.all[2]); }));
    manifest.message = "another one";
    const auto payload = value_of(encode_manifest(manifest));
    const auto envelope = value_of(security::seal_document(kManifestType, payload, security::SigningKey::make()));
    const auto digest = security::sha256<ManifestDigest>(security::pre_authentication(kManifestType, payload));
    value_of(f.store->write([&](Txn& txn) -> Result<> {
        TRY(txn.db().execute("UPDATE snapshot SET manifest = ? WHERE id = ?", digest, f.all[2].id));
        TRY(txn.db().execute("UPDATE document SET envelope = ? WHERE snapshot = ?", Blob{envelope}, f.all[2].id));
        return {};
    }));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "another one than its child says", f.store->read([&](const View& view) {
        return stack_parts(view, f.store->manifests(), f.all[5].id, Shortcuts::Ignore);
    })));
}

TEST(StackTest, ProvedOnceTheRowsAreComparedAgain)
{
    Line f;
    EXPECT_EQ(f.parts(f.all[5].id, Shortcuts::Ignore).size(), 6U);
    f.sql("UPDATE snapshot SET layer = layer + 1 WHERE seq = 3");
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "something else", f.store->read([&](const View& view) {
        return stack_parts(view, f.store->manifests(), f.all[5].id, Shortcuts::Ignore);
    })));
}

TEST(ShortcutTest, AForgedOneIsNotUsed)
{
    Line f;
    f.sql("UPDATE shortcut SET layer = (SELECT min(id) FROM layer)");
    const auto parts = f.parts(f.all[5].id);
    ASSERT_EQ(parts.size(), 6U);
    EXPECT_EQ(parts[0].layer->digest, *f.all[5].layer);
    f.sql("UPDATE shortcut SET layer = (SELECT max(id) FROM layer)");
    EXPECT_EQ(f.parts(f.all[5].id).size(), 3U);
    f.sql("UPDATE shortcut SET envelope = x'7b7d'");
    f.reopen();
    EXPECT_EQ(f.parts(f.all[5].id).size(), 6U);
}

TEST(ShortcutTest, WhatIsSignedAnewWasProved)
{
    Line f;
    f.sql("UPDATE snapshot SET layer = 1 WHERE seq = 5");
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "something else", f.shorten(f.all[4], f.all[1])));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "something else", f.shorten(f.all[5], f.all[4])));
    f.sql("UPDATE snapshot SET manifest = randomblob(32) WHERE seq = 6");
    const auto staged = test::stage(*f.store, {chunk_of(9)}, "k", "other");
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "another manifest", f.store->write([&](Txn& txn) -> Result<> {
        const auto id = security::make_random<SnapshotId>();
        TRY(add_snapshot(txn, {.id = id, .vdisk = f.vdisk, .parent = f.all[5].id, .author = "t"}));
        TRY(seal_snapshot(txn, id, &staged, f.store->node_key()));
        return {};
    })));
}

/// Mounting asks for this each time.
TEST(StackTest, TenThousandAreProvedQuickly)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto root = import(*f.store, vdisk, {chunk_of(1)});
    SnapshotId last = root.id;
    value_of(f.store->write([&](Txn& txn) -> Result<> {
        for (int i = 0; i < 10'000; ++i) {
            const auto id = security::make_random<SnapshotId>();
            TRY(add_snapshot(txn, {.id = id, .vdisk = vdisk, .parent = last, .author = "t"}));
            TRY(seal_snapshot(txn, id, nullptr, f.store->node_key()));
            last = id;
        }
        return {};
    }));
    const auto before = std::chrono::steady_clock::now();
    EXPECT_EQ(value_of(f.store->read([&](const View& view) { return ancestors(view, last); })).size(), 10'001U);
    const std::chrono::duration<double, std::milli> alone = std::chrono::steady_clock::now() - before;
    std::printf("the line alone: %.1f ms\n", alone.count());
    for (const char* const which : {"first", "second"}) {
        const auto begin = std::chrono::steady_clock::now();
        EXPECT_EQ(value_of(f.store->read([&](const View& view) {
                      return stack_parts(view, f.store->manifests(), last);
                  })).size(),
                  1U);
        const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
        std::printf("%s time: %.1f ms\n", which, took.count());
    }
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
          "DROP TABLE snapshot; DROP TABLE document; DROP TABLE origin; ALTER TABLE before RENAME TO snapshot; PRAGMA "
          "user_version = 1");
    f.reopen();
    EXPECT_EQ(f.parts(f.all[5].id).size(), 6U);
    EXPECT_TRUE(succeeds(f.shorten(f.all[5], f.all[1])));
    EXPECT_EQ(f.parts(f.all[5].id).size(), 3U);
    EXPECT_EQ(f.check(FsckLevel::Crypto).exit_status(), 0);
}

} // namespace
} // namespace coppice::store
