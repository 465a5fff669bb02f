#include "../../../src/store/connection.h"
#include "coppice/store/blob.h"
#include "coppice/store/fsck.h"
#include "faults.h"
#include "killed_child.h"
#include "support.h"

#include <array>
#include <unistd.h>

namespace coppice::store {
namespace {

namespace faults = test::faults;
using faults::Kind;
using test::chunk_of;
using test::TempDir;
using test::value_of;

/// What was acknowledged. A process says `done` to its parent.
struct Acknowledged {
    std::array<SnapshotId, 3> id{};
    std::array<bool, 3> done{};
    bool vdisk = false;
    std::vector<std::string> errors;
};

std::vector<std::string> content(std::size_t which)
{
    std::vector<std::string> chunks;
    const int from = static_cast<int>(which) * 3;
    for (int i = from; i < from + 6; ++i) // neighbours share three
        chunks.push_back(chunk_of(i, 8192));
    return chunks;
}

/// The request that is repeated with its key.
Result<std::string> make_vdisk(Store& store)
{
    return store.write_once({.key = "request-1", .fingerprint = "vdisk debian"},
                            [](Txn& txn) -> Result<std::string> { return TRY(add_vdisk(txn, "debian")).id.hex(); });
}

Result<> import_one(Store& store, const VdiskId& vdisk, const SnapshotId& id, std::size_t which)
{
    auto ingest = TRY(Ingest::begin(store, {.key = id.hex(), .threads = 1}));
    for (const std::string& chunk : content(which))
        TRY(ingest->put(chunk));
    TRY(ingest->put_metadata("metadata " + std::to_string(which)));
    const auto staged = TRY(ingest->finish());
    return store.write([&](Txn& txn) -> Result<> {
        TRY(add_snapshot(txn, {.id = id, .vdisk = vdisk, .state = SnapshotState::Durable, .author = "a"}));
        TRY(seal_snapshot(txn, id, &staged, store.node_key()));
        return {};
    });
}

/// Creation, a vdisk, three imports, a removal with collection. Goes on after errors as a daemon would.
/// @param say told after each acknowledgement
template <typename Say> void work(const std::string& root, Acknowledged& all, Say say)
{
    const auto note = [&](const Error& error) { all.errors.push_back(error.line()); };
    auto opened = Store::open(root);
    if (!opened) {
        note(opened.error());
        opened = Store::open(root);
        if (!opened) return note(opened.error());
    }
    Store& store = **opened;
    auto vdisk = make_vdisk(store);
    if (!vdisk) {
        note(vdisk.error());
        vdisk = make_vdisk(store); // the same request: not twice
        if (!vdisk) return note(vdisk.error());
    }
    all.vdisk = true;
    say(all);
    const auto id = value_of(VdiskId::parse(*vdisk));
    for (std::size_t i = 0; i < all.id.size(); ++i) {
        const auto done = import_one(store, id, all.id[i], i);
        if (!done) note(done.error());
        all.done[i] = done.has_value();
        say(all);
    }
    all.done[0] = false; // from here on it may be there or not
    say(all);
    if (const auto removed = store.write([&](Txn& txn) { return remove_snapshot(txn, all.id[0]); }); !removed)
        note(removed.error());
    for (int i = 0; i < 2; ++i)
        if (const auto done = collect(store, {.grace_seconds = 0}); !done) note(done.error());
}

Acknowledged fresh()
{
    Acknowledged all;
    for (auto& id : all.id)
        id = security::make_random<SnapshotId>();
    return all;
}

/// What must hold whatever happened.
void check(const std::string& root, const Acknowledged& all)
{
    faults::arm(Kind::Count, 0); // for speed: nothing is synced
    const auto store = value_of(Store::open(root));
    const auto report = value_of(fsck(*store, FsckLevel::Full));
    EXPECT_EQ(report.exit_status(), 0) << (report.findings.empty() ? "" : report.findings[0].what);
    for (std::size_t i = 0; i < all.id.size(); ++i) {
        const auto found = value_of(store->read([&](const View& view) { return find_snapshot(view, all.id[i]); }));
        EXPECT_TRUE(found || !all.done[i]) << "acknowledged snapshot " << i << " is lost";
        if (!found || found->state != SnapshotState::Sealed) continue;
        EXPECT_EQ(value_of(test::read_back(*store, *found)), test::joined(content(i)));
    }
    const auto first = value_of(make_vdisk(*store));
    EXPECT_EQ(value_of(make_vdisk(*store)), first);
    EXPECT_EQ(value_of(store->read([](const View& view) { return all_vdisks(view); })).size(), 1U); // not doubled
    // And it goes on from there.
    const auto id = security::make_random<SnapshotId>();
    EXPECT_TRUE(test::succeeds(import_one(*store, value_of(VdiskId::parse(first)), id, 7)));
    EXPECT_TRUE(test::succeeds(collect(*store, {.grace_seconds = 0, .session_seconds = 0})));
    EXPECT_EQ(value_of(fsck(*store, FsckLevel::Full)).exit_status(), 0);
    faults::disarm();
}

std::uint64_t count_calls(Kind kind = Kind::Count)
{
    const TempDir directory;
    auto all = fresh();
    faults::arm(Kind::Count, 0);
    work(directory / "store", all, [](const Acknowledged&) {});
    const auto changes = faults::disarm();
    const auto calls = kind == Kind::Read ? faults::reading_calls() : changes;
    EXPECT_TRUE(all.errors.empty()) << all.errors.front();
    EXPECT_TRUE(all.done[1] && all.done[2]);
    return calls;
}

/// Each how manieth call is tried: COPPICE_FAULT_STRIDE=1 tries all, which takes minutes.
std::uint64_t every()
{
    const char* const chosen = std::getenv("COPPICE_FAULT_STRIDE");
    return chosen == nullptr ? 4 : std::max(1UL, std::strtoul(chosen, nullptr, 10));
}

class FaultTest : public testing::TestWithParam<Kind> {};

/// Syncs whose failure loses nothing that anybody was told: of the log when it is lengthened beforehand; of the
/// database, where what a checkpoint copies is still in the log; SQLite's of the directory, which the store syncs
/// itself (by fsync), or leaves: a new database is moved out of tmp/new.
bool may_be_ignored(std::string_view call)
{
    return call.ends_with("/store.db-wal") || call.ends_with("/store.db") ||
           (call.starts_with("fdatasync ") && (call.ends_with("/store") || call.ends_with("/store/tmp/new")));
}

TEST_P(FaultTest, EveryCallFailsOnce)
{
    const auto calls = count_calls(GetParam());
    ASSERT_GT(calls, 50U);
    std::uint64_t injected = 0, noticed = 0;
    const auto stride = GetParam() == Kind::Read ? 2 * every() : every();
    for (std::uint64_t nth = 1 + static_cast<std::uint64_t>(::getpid()) % stride; nth <= calls; nth += stride) {
        SCOPED_TRACE("call " + std::to_string(nth));
        const TempDir directory;
        auto all = fresh();
        faults::arm(GetParam(), nth);
        work(directory / "store", all, [](const Acknowledged&) {});
        faults::disarm();
        injected += faults::injected();
        noticed += all.errors.empty() ? 0 : 1;
        EXPECT_TRUE(!all.errors.empty() || !faults::is_sync(faults::failed_call()) ||
                    may_be_ignored(faults::failed_call()))
            << "nobody noticed: " << faults::failed_call();
        for (const std::string& error : all.errors)
            if (GetParam() == Kind::Full || GetParam() == Kind::ShortWrite) {
                EXPECT_TRUE(error.find("space") != std::string::npos || error.find("repeat") != std::string::npos ||
                            error.find("there is no snapshot") != std::string::npos)
                    << error;
            }
        check(directory / "store", all);
        if (HasFailure()) break;
    }
    std::printf("%lu calls, %lu failures injected, %lu runs with an error\n", calls, injected, noticed);
    EXPECT_GE(injected, calls / stride * 9 / 10); // threads make the number of calls vary a little
    EXPECT_GE(noticed, injected / 2);
}

INSTANTIATE_TEST_SUITE_P(Kinds, FaultTest, testing::Values(Kind::Io, Kind::Full, Kind::ShortWrite, Kind::Read),
                         [](const auto& one) {
                             return one.param == Kind::Io     ? "Io"
                                    : one.param == Kind::Full ? "Full"
                                    : one.param == Kind::Read ? "Read"
                                                              : "ShortWrite";
                         });

TEST(BlobSyncTest, ABlobWhoseSyncFailedIsMadeAgain)
{
    test::StoreFixture f;
    const auto snapshot = test::import(*f.store, test::make_vdisk(*f.store), content(0));
    const auto layer = test::layer_of(*f.store, snapshot);
    const std::string path = "store/cache/" + layer.digest.hex() + ".blob";
    faults::arm(Kind::Io, 1, "fdatasync");
    EXPECT_FALSE(settle_blobs(*f.store));
    EXPECT_EQ(faults::failed_call(), "fdatasync " + (f.directory / path));
    faults::disarm();
    EXPECT_FALSE(f.directory.exists(path)); // a second sync would succeed without what was lost
    EXPECT_FALSE(value_of(has_blob(*f.store, layer)));
    EXPECT_TRUE(test::succeeds(settle_blobs(*f.store)));
    EXPECT_TRUE(test::succeeds(open_blob(*f.store, layer)));
    EXPECT_EQ(f.directory.read(path), test::joined(content(0)));
}

/// Kills find no missing sync: the kernel keeps what was written. Here only what was synced is kept.
TEST(PowerCutTest, WhatWasAcknowledgedHadBeenSynced)
{
    const TempDir directory;
    auto all = fresh();
    std::vector<Acknowledged> cuts;
    faults::arm(Kind::Count, 0);
    faults::remember_syncs();
    work(directory / "store", all, [&](const Acknowledged& now) {
        faults::power_cut(directory / "store", directory / ("cut-" + std::to_string(cuts.size())));
        cuts.push_back(now);
    });
    faults::disarm();
    ASSERT_TRUE(all.errors.empty()) << all.errors.front();
    ASSERT_EQ(cuts.size(), 5U);
    for (std::size_t i = 0; i < cuts.size(); ++i) {
        SCOPED_TRACE("cut " + std::to_string(i));
        const std::string root = directory / ("cut-" + std::to_string(i));
        // The machine starts again: what was written and not synced has another boot's id.
        value_of(value_of(Connection::open(root + "/store.db", Connection::Mode::ReadWrite))
                     ->run("UPDATE blob SET boot = 'before'"));
        check(root, cuts[i]);
    }
}

TEST(KillTest, AtEveryCall)
{
    const auto calls = count_calls();
    std::uint64_t killed = 0;
    for (std::uint64_t nth = 1 + static_cast<std::uint64_t>(::getpid()) % every(); nth <= calls; nth += every()) {
        SCOPED_TRACE("call " + std::to_string(nth));
        const TempDir directory;
        auto all = fresh();
        auto done = all.done;
        killed += faults::run_in_child(done, [&](const auto& say) {
            faults::arm(Kind::Kill, nth);
            work(directory / "store", all, [&](const Acknowledged& now) { say(now.done); });
        });
        all.done = done;
        check(directory / "store", all);
        if (HasFailure()) break;
    }
    std::printf("%lu calls, %lu kills\n", calls, killed);
    EXPECT_GE(killed, calls / every() * 9 / 10);
}

} // namespace
} // namespace coppice::store
