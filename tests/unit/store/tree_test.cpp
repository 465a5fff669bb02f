#include "../../../src/store/connection.h"
#include "coppice/base/text.h"
#include "support.h"

#include <algorithm>
#include <map>
#include <rapidcheck.h>
#include <set>

namespace coppice::store {
namespace {

using test::chunk_of;
using test::fails_as;
using test::import;
using test::make_vdisk;
using test::StoreFixture;
using test::succeeds;
using test::value_of;

SnapshotId add(Store& store, const VdiskId& vdisk, std::optional<SnapshotId> parent = {},
               const std::string& message = "")
{
    const auto id = security::make_random<SnapshotId>();
    value_of(store.write([&](Txn& txn) {
        return add_snapshot(txn, {.id = id, .vdisk = vdisk, .parent = parent, .author = "tester", .message = message});
    }));
    return id;
}

Result<> remove(Store& store, const SnapshotId& id)
{
    return store.write([&](Txn& txn) { return remove_snapshot(txn, id); });
}

template <typename Body> auto read(Store& store, Body body) { return value_of(store.read(body)); }

std::set<SnapshotId> ids_of(const std::vector<Snapshot>& snapshots)
{
    std::set<SnapshotId> ids;
    for (const Snapshot& snapshot : snapshots)
        ids.insert(snapshot.id);
    return ids;
}

/// The same tree in plain maps.
struct Model {
    std::map<SnapshotId, std::optional<SnapshotId>> parents;
    std::vector<SnapshotId> order;

    [[nodiscard]] std::vector<SnapshotId> line(SnapshotId id) const
    {
        std::vector<SnapshotId> found{id};
        for (auto parent = parents.at(id); parent; parent = parents.at(*parent))
            found.push_back(*parent);
        return found;
    }
    [[nodiscard]] std::set<SnapshotId> children(SnapshotId id) const
    {
        std::set<SnapshotId> found;
        for (const auto& [child, parent] : parents)
            if (parent == id) found.insert(child);
        return found;
    }
    [[nodiscard]] std::set<SnapshotId> below(SnapshotId id) const
    {
        std::set<SnapshotId> found;
        for (const auto& [one, parent] : parents) {
            const auto up = line(one);
            if (one != id && std::find(up.begin(), up.end(), id) != up.end()) found.insert(one);
        }
        return found;
    }
};

TEST(TreeTest, AgreesWithAModel)
{
    StoreFixture f;
    int round = 0;
    const bool passed =
        rc::check("tree operations", [&](const std::vector<std::pair<std::uint8_t, std::uint8_t>>& steps) {
            const auto vdisk = make_vdisk(*f.store, "v" + std::to_string(round++));
            Model model;
            for (const auto& [what, which] : steps) {
                const auto some = [&] { return model.order[which % model.order.size()]; };
                if (model.order.empty() || what % 4 != 3) {
                    const std::optional<SnapshotId> parent =
                        model.order.empty() || what % 8 == 0 ? std::nullopt : std::optional{some()};
                    const auto id = add(*f.store, vdisk, parent);
                    model.parents.emplace(id, parent);
                    model.order.push_back(id);
                } else {
                    const auto id = some();
                    const bool leaf = model.children(id).empty();
                    RC_ASSERT(remove(*f.store, id).has_value() == leaf);
                    if (leaf) {
                        model.parents.erase(id);
                        std::erase(model.order, id);
                    }
                }
            }
            const auto view = [&](auto body) { return read(*f.store, body); };
            const auto all = view([&](const View& v) { return log(v, vdisk); });
            RC_ASSERT(all.size() == model.order.size());
            for (std::size_t i = 0; i < all.size(); ++i)
                RC_ASSERT(all[i].id == model.order[all.size() - 1 - i]); // latest first
            for (const auto& id : model.order) {
                RC_ASSERT(ids_of(view([&](const View& v) { return children(v, id); })) == model.children(id));
                RC_ASSERT(ids_of(view([&](const View& v) { return descendants(v, id); })) == model.below(id));
                const auto line = view([&](const View& v) { return ancestors(v, id); });
                const auto expected = model.line(id);
                RC_ASSERT(line.size() == expected.size());
                RC_ASSERT(line.front().depth == expected.size());
                for (std::size_t i = 0; i < line.size(); ++i)
                    RC_ASSERT(line[i].id == expected[i]);
            }
        });
    EXPECT_TRUE(passed);
}

TEST(TreeTest, DependentsAreNamed)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto root = add(*f.store, vdisk);
    const auto child = add(*f.store, vdisk, root);
    value_of(f.store->write([&](Txn& txn) -> Result<> {
        TRY(set_tag(txn, vdisk, "stable", root));
        TRY(add_working(txn, "web-1", root));
        TRY(add_version(txn, vdisk, root, VersionState::Test));
        TRY(take_lease(txn, "mount-7", root, after(now(), 60)));
        return take_lease(txn, "old", root, after(now(), -1));
    }));
    for (const std::string& name :
         {"child " + child.hex(), std::string{"tag stable of debian"}, std::string{"branch web-1"},
          std::string{"version 1 of debian"}, std::string{"reader mount-7"}})
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, name, remove(*f.store, root)));
    value_of(f.store->write([&](Txn& txn) -> Result<> {
        TRY(remove_snapshot(txn, child));
        TRY(remove_tag(txn, vdisk, "stable"));
        TRY(remove_working(txn, "web-1"));
        TRY(remove_version(txn, vdisk, 1));
        TRY(end_lease(txn, "mount-7"));
        return remove_snapshot(txn, root);
    }));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "no snapshot", remove(*f.store, root)));
}

/// Who climbs a line that is broken is told, and gets no shorter one.
TEST(TreeTest, ABrokenLineIsTold)
{
    struct Damage {
        const char* name;
        const char* script;
    };
    for (const auto& [name, script] :
         {Damage{"parent row gone", "DELETE FROM snapshot WHERE seq = 2"},
          Damage{"vdisk row gone",
                 "INSERT INTO vdisk(id, uuid, name, seq, epoch, created) VALUES(9, randomblob(16), "
                 "'x', 9, 0, 0); UPDATE snapshot SET vdisk = 9 WHERE seq = 2; DELETE FROM vdisk WHERE "
                 "id = 9"},
          Damage{"circle", "UPDATE snapshot SET parent = (SELECT id FROM snapshot WHERE seq = 4) WHERE seq = 1"}}) {
        SCOPED_TRACE(name);
        StoreFixture f;
        const auto vdisk = make_vdisk(*f.store);
        std::vector<SnapshotId> line{add(*f.store, vdisk)};
        while (line.size() < 4)
            line.push_back(add(*f.store, vdisk, line.back()));
        EXPECT_EQ(read(*f.store, [&](const View& view) { return unsealed_ancestors(view, line.back()); }).size(), 4U);
        f.store.reset();
        value_of(value_of(Connection::open(f.root + "/store.db", Connection::Mode::ReadWrite))
                     ->run(cat("PRAGMA foreign_keys = OFF;", script)));
        f.reopen();
        const auto told = [&](auto climb) {
            return fails_as(ErrorKind::Corrupt, "comes from one that is not there, or from itself",
                            f.store->read([&](const View& view) { return climb(view); }));
        };
        EXPECT_TRUE(told([&](const View& view) { return ancestors(view, line.back()); }));
        EXPECT_TRUE(told([&](const View& view) { return unsealed_ancestors(view, line.back()); }));
        EXPECT_TRUE(told([&](const View& view) { return is_ancestor(view, line.front(), line.back()); }));
    }
}

/// The line follows from the parents alone, in whatever order its rows come.
TEST(TreeTest, AWrongDepthHarmsNobody)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    std::vector<SnapshotId> line{add(*f.store, vdisk)};
    while (line.size() < 6)
        line.insert(line.begin(), add(*f.store, vdisk, line.front()));
    value_of(f.store->write(
        [](Txn& txn) { return txn.db().execute("UPDATE snapshot SET depth = 20 - depth WHERE seq IN (2, 4)"); }));
    for (const bool reversed : {false, true})
        value_of(f.store->read([&](const View& view) -> Result<> {
            TRY(view.db().run(cat("PRAGMA reverse_unordered_selects = ", reversed ? 1 : 0)));
            std::vector<SnapshotId> found;
            for (const Snapshot& one : TRY(ancestors(view, line.front())))
                found.push_back(one.id);
            EXPECT_EQ(found, line);
            EXPECT_EQ(TRY(ancestors(view, line.front(), 3)).back().id, line[2]);
            return {};
        }));
}

TEST(TreeTest, PrefixesAreResolved)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto make = [&](const char* hex) {
        const auto id = value_of(SnapshotId::parse(hex));
        value_of(
            f.store->write([&](Txn& txn) { return add_snapshot(txn, {.id = id, .vdisk = vdisk, .author = "a"}); }));
        return id;
    };
    const auto one = make("aabbcc00000000000000000000000000");
    make("aabbcd00000000000000000000000000");
    const auto find = [&](const char* prefix) {
        return f.store->read([&](const View& view) { return find_by_prefix(view, prefix); });
    };
    EXPECT_EQ(value_of(find("aabbcc")).id, one);
    EXPECT_EQ(value_of(find("aabbcc00000000000000000000000000")).id, one);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "2 snapshots", find("aabb")));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "no snapshot", find("ffff")));
    for (const char* const bad : {"aab", "AABB", "xyzz", "aabbcc000000000000000000000000000"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "hex digits", find(bad)));
}

TEST(TreeTest, LogHasAllOrTheLatest)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    value_of(f.store->write([&](Txn& txn) -> Result<> {
        std::optional<SnapshotId> parent;
        for (int i = 0; i < 10'000; ++i) {
            const auto id = security::make_random<SnapshotId>();
            TRY(add_snapshot(txn, {.id = id, .vdisk = vdisk, .parent = parent, .author = "a", .message = "m"}));
            parent = id;
        }
        return {};
    }));
    const auto all = read(*f.store, [&](const View& view) { return log(view, vdisk); });
    ASSERT_EQ(all.size(), 10'000U);
    for (std::size_t i = 0; i < all.size(); ++i)
        ASSERT_EQ(all[i].seq, all.size() - i);
    const auto latest = read(*f.store, [&](const View& view) { return log(view, vdisk, 3); });
    ASSERT_EQ(latest.size(), 3U);
    EXPECT_EQ(latest.back().id, all[2].id);
}

TEST(SealTest, ChainIsVerified)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto a = import(*f.store, vdisk, {chunk_of(1)});
    const auto b = import(*f.store, vdisk, {chunk_of(2)}, a.id);
    const std::vector trusted{f.store->node_key().public_key()};
    const auto verify = [&](const SnapshotId& id) {
        return f.store->read([&](const View& view) { return verify_chain(view, id, trusted); });
    };
    EXPECT_EQ(value_of(verify(b.id)), 2U);
    EXPECT_EQ(b.seq, 2U);
    value_of(f.store->write([&](Txn& txn) { return rename_vdisk(txn, vdisk, "renamed"); }));
    EXPECT_TRUE(succeeds(verify(b.id))); // a rename does not make history wrong
    const std::vector others{security::SigningKey::make().public_key()};
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "no trusted key",
                         f.store->read([&](const View& view) { return verify_chain(view, b.id, others); })));
}

TEST(SealTest, AncestorsFirst)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto root = add(*f.store, vdisk), child = add(*f.store, vdisk, root);
    const auto seal = [&](const SnapshotId& id, const StagedLayer* layer) {
        return f.store->write([&](Txn& txn) { return seal_snapshot(txn, id, layer, f.store->node_key()); });
    };
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "not sealed", seal(child, nullptr)));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "neither", seal(root, nullptr)));
    const auto staged = test::stage(*f.store, {chunk_of(1)}, "k");
    EXPECT_TRUE(succeeds(seal(root, &staged)));
    EXPECT_TRUE(succeeds(seal(child, nullptr))); // no change
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "already", seal(child, nullptr)));
    EXPECT_TRUE(
        fails_as(ErrorKind::Conflict, "signed", f.store->write([&](Txn& txn) { return set_message(txn, root, "x"); })));
    EXPECT_EQ(read(*f.store, [&](const View& view) { return unsealed(view); }).size(), 0U);
    EXPECT_EQ(read(*f.store, [&](const View& view) { return lineage(view, child); }).size(), 1U);
}

TEST(VdiskTest, LifeOfVersions)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto snapshot = add(*f.store, vdisk);
    const auto txn = [&](auto body) { return f.store->write([&](Txn& t) { return body(t); }); };
    const auto current = [&](Time at) -> std::uint64_t {
        const auto version = read(*f.store, [&](const View& view) { return default_version(view, vdisk, at); });
        return version ? version->number : 0;
    };
    for (int i = 1; i <= 3; ++i)
        EXPECT_EQ(
            value_of(txn([&](Txn& t) { return add_version(t, vdisk, snapshot, VersionState::Maintenance); })).number,
            static_cast<std::uint64_t>(i));
    EXPECT_EQ(current(now()), 0U);
    const auto promote = [&](std::uint64_t number) {
        return txn([&](Txn& t) { return promote_version(t, vdisk, number); });
    };
    EXPECT_EQ(value_of(promote(1)).state, VersionState::Test);
    EXPECT_EQ(current(now()), 0U);
    EXPECT_EQ(value_of(promote(1)).state, VersionState::Production);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "already", promote(1)));
    EXPECT_EQ(current(now()), 1U);
    const auto later = after(now(), 3600);
    value_of(txn([&](Txn& t) { return schedule_version(t, vdisk, 2, later); })); // before it is in production
    EXPECT_EQ(current(later), 1U);
    value_of(promote(2));
    value_of(promote(2));
    EXPECT_EQ(current(now()), 1U); // it was live at no moment
    EXPECT_EQ(current(later), 2U);
    value_of(txn([&](Txn& t) { return schedule_version(t, vdisk, 2, std::nullopt); }));
    EXPECT_EQ(current(now()), 2U);
    value_of(txn([&](Txn& t) { return schedule_version(t, vdisk, 2, later); }));
    value_of(txn([&](Txn& t) { return pin_version(t, vdisk, 3); }));
    value_of(txn([&](Txn& t) { return pin_version(t, vdisk, 1); }));
    EXPECT_EQ(current(later), 1U);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "pinned", txn([&](Txn& t) { return remove_version(t, vdisk, 1); })));
    value_of(txn([&](Txn& t) { return unpin_version(t, vdisk); }));
    value_of(txn([&](Txn& t) { return remove_version(t, vdisk, 1); }));
    EXPECT_EQ(current(now()), 0U);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "1 snapshots", txn([&](Txn& t) { return remove_vdisk(t, vdisk); })));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "already", txn([&](Txn& t) { return add_vdisk(t, "debian"); })));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", txn([&](Txn& t) { return add_vdisk(t, "../x"); })));
}

} // namespace
} // namespace coppice::store
