#include "../../../src/store/connection.h"
#include "../../../src/store/guards.h"
#include "coppice/store/fsck.h"
#include "coppice/store/usage.h"
#include "support.h"

#include <atomic>
#include <filesystem>
#include <functional>
#include <sys/stat.h>
#include <thread>

namespace coppice::store {
namespace {

using test::chunk_of;
using test::fails_as;
using test::import;
using test::joined;
using test::make_vdisk;
using test::read_back;
using test::StoreFixture;
using test::succeeds;
using test::value_of;

std::int64_t count(const Store& store, const char* sql)
{
    return value_of(store.read([&](const View& view) { return view.db().number(sql); }));
}

void remove(Store& store, const Snapshot& snapshot)
{
    value_of(store.write([&](Txn& txn) { return remove_snapshot(txn, snapshot.id); }));
}

std::vector<std::string> range(int from, int to)
{
    std::vector<std::string> chunks;
    for (int i = from; i < to; ++i)
        chunks.push_back(chunk_of(-i - 1));
    return chunks;
}

TEST(CollectTest, OnlyWhatNobodyNeedsAndOnlyAfterTheGracePeriod)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto a = import(*f.store, vdisk, range(0, 20));
    const auto b = import(*f.store, vdisk, range(10, 30), {}, "other");
    EXPECT_EQ(value_of(collect(*f.store, {.grace_seconds = 0})).trashed_chunks, 0U);
    remove(*f.store, a);
    auto done = value_of(collect(*f.store)); // a day of grace
    EXPECT_EQ(done.trashed_layers, 1U);
    EXPECT_EQ(done.removed_layers, 0U);
    EXPECT_EQ(done.trashed_chunks, 0U); // the layer still needs them
    done = value_of(collect(*f.store, {.grace_seconds = 0}));
    EXPECT_EQ(done.removed_layers, 1U);
    EXPECT_EQ(done.trashed_chunks, 10U);
    EXPECT_EQ(done.removed_chunks, 10U);
    EXPECT_EQ(done.punched, 10U);
    EXPECT_EQ(done.removed_packs, 0U);
    EXPECT_FALSE(f.directory.exists("store/layers/" + a.layer->hex()));
    EXPECT_EQ(value_of(read_back(*f.store, b)), joined(range(10, 30)));
    struct stat status{};
    ASSERT_EQ(::stat((f.root + "/packs/1.pack").c_str(), &status), 0);
    EXPECT_LT(status.st_blocks * 512, 11 * 65536 + 65536); // half of it is holes
    remove(*f.store, b);
    done = value_of(collect(*f.store, {.grace_seconds = 0}));
    EXPECT_EQ(done.removed_packs, 2U);
    EXPECT_EQ(count(*f.store,
                    "SELECT (SELECT count(*) FROM chunk) + (SELECT count(*) FROM pack) + (SELECT count(*) FROM hole)"),
              0);
    EXPECT_FALSE(f.directory.exists("store/packs/1.pack"));
}

TEST(CollectTest, AHitTakesAChunkOutOfTheTrash)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto a = import(*f.store, vdisk, range(0, 5));
    remove(*f.store, a);
    value_of(f.store->write([](Txn& txn) -> Result<> {
        TRY(txn.db().execute("DELETE FROM layer"));
        return {};
    }));
    EXPECT_EQ(value_of(collect(*f.store)).trashed_chunks, 5U);
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM chunk WHERE trashed IS NOT NULL"), 5);
    const auto b = import(*f.store, vdisk, range(0, 5), {}, "again");
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM chunk WHERE trashed IS NOT NULL"), 0);
    ASSERT_TRUE(succeeds(collect(*f.store, {.grace_seconds = 0})));
    EXPECT_EQ(value_of(read_back(*f.store, b)), joined(range(0, 5)));
}

TEST(CollectTest, AStagedLayerIsNotTaken)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto staged = test::stage(*f.store, range(0, 5), "k");
    ASSERT_TRUE(succeeds(collect(*f.store, {.grace_seconds = 0})));
    EXPECT_EQ(value_of(read_back(*f.store, test::add_sealed(*f.store, vdisk, staged))), joined(range(0, 5)));
}

TEST(CollectTest, AStagedLayerIsTakenOutOfTheTrash)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    remove(*f.store, import(*f.store, vdisk, range(0, 5)));
    ASSERT_TRUE(succeeds(collect(*f.store))); // the layer is in the trash, its files are there
    const auto staged = test::stage(*f.store, range(0, 5), "k");
    EXPECT_EQ(value_of(collect(*f.store, {.grace_seconds = 0})).removed_layers, 0U);
    const auto id = security::make_random<SnapshotId>();
    value_of(f.store->write([&](Txn& txn) -> Result<> {
        TRY(add_snapshot(txn, {.id = id, .vdisk = vdisk, .author = "a"}));
        TRY(seal_snapshot(txn, id, &staged, f.store->node_key()));
        return {};
    }));
    ASSERT_TRUE(succeeds(collect(*f.store, {.grace_seconds = 0})));
    const auto snapshot = value_of(f.store->read([&](const View& view) { return get_snapshot(view, id); }));
    EXPECT_EQ(value_of(read_back(*f.store, snapshot)), joined(range(0, 5)));
}

TEST(CollectTest, AGivenUpIngestLetsGo)
{
    StoreFixture f;
    {
        const auto staged = test::stage(*f.store, range(0, 5), "k");
    }
    ASSERT_TRUE(succeeds(collect(*f.store))); // it may be entered yet, by a later try
    EXPECT_FALSE(std::filesystem::is_empty(f.root + "/layers"));
    EXPECT_EQ(value_of(collect(*f.store, {.grace_seconds = 0})).removed_chunks, 0U);
    const auto done = value_of(collect(*f.store, {.grace_seconds = 0, .session_seconds = 0}));
    EXPECT_EQ(done.given_up_sessions, 1U);
    EXPECT_EQ(done.removed_chunks, 5U);
    for (const char* const directory : {"layers", "cache"}) // nothing that no row names
        EXPECT_TRUE(std::filesystem::is_empty(f.root + "/" + directory)) << directory;
    const auto ingest = value_of(Ingest::begin(*f.store, {.key = "running"}));
    EXPECT_EQ(value_of(collect(*f.store, {.session_seconds = 0})).given_up_sessions, 0U);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "running", abandon_ingest(*f.store, "running")));
}

/// A kill between the deletion of a layer's row and of its files leaves them.
TEST(CollectTest, FilesThatNoRowNamesGo)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto a = import(*f.store, vdisk, range(0, 5));
    const auto b = import(*f.store, vdisk, range(3, 8), {}, "other");
    value_of(f.store->write([&](Txn& txn) -> Result<> {
        TRY(remove_snapshot(txn, a.id));
        TRY(txn.db().execute("DELETE FROM layer WHERE digest = ?", *a.layer));
        TRY(txn.db().execute("DELETE FROM blob"));
        return {};
    }));
    f.directory.write("store/layers/notes", "somebody's");
    const auto staged = test::stage(*f.store, range(9, 12), "k", "staged");
    ASSERT_TRUE(succeeds(collect(*f.store, {.grace_seconds = 0})));
    EXPECT_FALSE(f.directory.exists("store/layers/" + a.layer->hex()));
    EXPECT_FALSE(f.directory.exists("store/cache/" + a.layer->hex() + ".blob"));
    EXPECT_FALSE(f.directory.exists("store/cache/" + b.layer->hex() + ".blob")); // its row has gone
    EXPECT_TRUE(f.directory.exists("store/layers/" + b.layer->hex() + "/chunks"));
    EXPECT_TRUE(f.directory.exists("store/layers/notes"));
    EXPECT_EQ(value_of(read_back(*f.store, test::add_sealed(*f.store, vdisk, staged))), joined(range(9, 12)));
    EXPECT_EQ(value_of(read_back(*f.store, b)), joined(range(3, 8)));
}

TEST(CollectTest, AHoleOverALivingChunkIsNotPunched)
{
    StoreFixture f;
    const auto a = import(*f.store, make_vdisk(*f.store), range(0, 5));
    value_of(f.store->write([](Txn& txn) -> Result<> { // reaches into the second chunk from before
        TRY(txn.db().execute("INSERT INTO hole(pack, offset, bytes) SELECT pack, offset - 8192, 16384 FROM chunk "
                             "WHERE id = 2"));
        return {};
    }));
    EXPECT_EQ(value_of(collect(*f.store)).punched, 0U);
    EXPECT_EQ(value_of(read_back(*f.store, a)), joined(range(0, 5)));
    EXPECT_EQ(value_of(fsck(*f.store, FsckLevel::Quick)).exit_status(), 4);
    EXPECT_EQ(value_of(fsck(*f.store, FsckLevel::Repair)).exit_status(), 1);
    EXPECT_EQ(value_of(fsck(*f.store, FsckLevel::Full)).exit_status(), 0);
}

std::function<void()> at_punch;

TEST(CollectTest, AHoleThatWasNotPunchedIsNotForgotten)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto a = import(*f.store, vdisk, range(0, 20));
    const auto b = import(*f.store, vdisk, range(10, 20), {}, "other");
    remove(*f.store, a);
    at_punch = [&] {
        value_of(f.store->write([](Txn& txn) -> Result<> {
            TRY(txn.db().execute("INSERT INTO hole(pack, offset, bytes) VALUES(1, 200000000, 4096)"));
            return {};
        }));
    };
    on_step = [](std::string_view step) {
        if (step == "holes punched") at_punch();
    };
    EXPECT_EQ(value_of(collect(*f.store, {.grace_seconds = 0})).punched, 10U);
    on_step = nullptr;
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM hole"), 1);
}

/// The race of the trash: ingests hit chunks that the collector is removing at this moment. Each snapshot that was
/// acknowledged must be readable afterwards, whatever the collector did in between.
TEST(CollectTest, NothingInUseIsTaken)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    std::atomic<bool> stop = false;
    std::atomic<std::uint64_t> removed = 0;
    std::thread collector{[&] {
        while (!stop) {
            const auto done = collect(*f.store, {.grace_seconds = 0});
            ASSERT_TRUE(succeeds(done));
            removed += done->removed_chunks;
        }
    }};
    std::vector<std::thread> writers;
    for (int t = 0; t < 2; ++t)
        writers.emplace_back([&, t] {
            for (int round = 0; round < 12 || (removed == 0 && round < 500); ++round) {
                const auto chunks = range(0, 8); // the same ones again and again
                const auto snapshot = import(*f.store, vdisk, chunks, {}, "m" + std::to_string(t));
                const auto back = read_back(*f.store, snapshot);
                ASSERT_TRUE(succeeds(back));
                EXPECT_EQ(*back, joined(chunks));
                remove(*f.store, snapshot);
            }
        });
    for (std::thread& writer : writers)
        writer.join();
    stop = true;
    collector.join();
    ASSERT_TRUE(succeeds(collect(*f.store, {.grace_seconds = 0})));
    EXPECT_GT(removed, 0U); // there was a race to win
    EXPECT_EQ(value_of(fsck(*f.store, FsckLevel::Full)).exit_status(), 0);
}

/// The race in the worst order: what was found to be needed by nobody is needed before it is removed.
std::function<void(std::string_view)> at_step;

class CollectRaceTest : public testing::TestWithParam<const char*> {
protected:
    void SetUp() override
    {
        on_step = [](std::string_view step) {
            if (at_step) at_step(step);
        };
    }
    void TearDown() override
    {
        on_step = nullptr;
        at_step = nullptr;
    }
};

TEST_P(CollectRaceTest, WhatIsNeededAgainStays)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    remove(*f.store, import(*f.store, vdisk, range(0, 5)));
    ASSERT_TRUE(succeeds(collect(*f.store)));
    if (GetParam() == std::string_view{"chunks found"}) { // the layer is gone, its chunks are in the trash
        value_of(f.store->write([](Txn& txn) { return txn.db().execute("UPDATE layer SET trashed = 0"); }));
        ASSERT_TRUE(succeeds(collect(*f.store)));
        value_of(f.store->write([](Txn& txn) { return txn.db().execute("UPDATE chunk SET trashed = 0"); }));
    }
    std::optional<Snapshot> again;
    at_step = [&](std::string_view step) {
        if (step == GetParam() && !again) again = import(*f.store, vdisk, range(0, 5));
    };
    const auto done = value_of(collect(*f.store, {.grace_seconds = 0}));
    ASSERT_TRUE(again);
    EXPECT_EQ(done.removed_chunks, 0U);
    EXPECT_EQ(done.removed_layers, 0U);
    EXPECT_EQ(value_of(read_back(*f.store, *again)), joined(range(0, 5)));
    EXPECT_EQ(value_of(fsck(*f.store, FsckLevel::Full)).exit_status(), 0);
}
INSTANTIATE_TEST_SUITE_P(At, CollectRaceTest, testing::Values("layers found", "chunks found"), [](const auto& one) {
    return one.param == std::string_view{"layers found"} ? "Layers" : "Chunks";
});

/// The same on the other side: between look-up and claim the chunk goes for good.
TEST(CollectTest, AChunkThatVanishesAfterTheLookUpIsStoredAgain)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    remove(*f.store, import(*f.store, vdisk, range(0, 5)));
    auto ingest = value_of(Ingest::begin(*f.store, {.key = "k"}));
    for (const auto& chunk : range(0, 5))
        ASSERT_TRUE(succeeds(ingest->put(chunk)));
    std::this_thread::sleep_for(std::chrono::milliseconds{200}); // the workers have looked them up
    EXPECT_EQ(value_of(collect(*f.store, {.grace_seconds = 0})).removed_chunks, 5U);
    value_of(ingest->put_metadata("new"));
    const auto staged = value_of(ingest->finish());
    EXPECT_EQ(value_of(read_back(*f.store, test::add_sealed(*f.store, vdisk, staged))), joined(range(0, 5)));
}

TEST(UsageTest, SaysWhatIsSharedWithWhom)
{
    StoreFixture f;
    const auto one = make_vdisk(*f.store, "one"), two = make_vdisk(*f.store, "two");
    const auto a = import(*f.store, one, range(0, 10));
    import(*f.store, one, range(0, 12), a.id, "next");
    const auto c = import(*f.store, two, range(8, 20), {}, "two");
    const auto found = value_of(f.store->read([](const View& view) { return usage(view); }));
    constexpr std::uint64_t kEach = 64U << 10; // these do not shrink
    ASSERT_EQ(found.vdisks.size(), 2U);
    EXPECT_EQ(found.chunks, 20U);
    EXPECT_EQ(found.stored_bytes, 20 * kEach);
    EXPECT_EQ(found.unused_bytes, 0U);
    EXPECT_EQ(found.vdisks[0].own_bytes, 8 * kEach);
    EXPECT_EQ(found.vdisks[0].shared_bytes, 4 * kEach);
    EXPECT_EQ(found.vdisks[0].shared_with.at("two"), 4 * kEach);
    EXPECT_EQ(found.vdisks[1].own_bytes, 8 * kEach);
    EXPECT_EQ(found.vdisks[1].shared_with.at("one"), 4 * kEach);
    const auto of_a = value_of(f.store->read([&](const View& view) { return snapshot_usage(view, a.id); }));
    EXPECT_EQ(of_a.own_bytes, 0U);
    EXPECT_EQ(of_a.shared_bytes, 10 * kEach);
    const auto of_c = value_of(f.store->read([&](const View& view) { return snapshot_usage(view, c.id); }));
    EXPECT_EQ(of_c.own_bytes, 8 * kEach);
    remove(*f.store, c);
    EXPECT_EQ(value_of(f.store->read([](const View& view) { return usage(view); })).unused_bytes, 8 * kEach);
}

} // namespace
} // namespace coppice::store
