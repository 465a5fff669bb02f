// Needs: root, for attributes that overlayfs reads.

#include "content.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/collect.h"
#include "coppice/store/fsck.h"
#include "coppice/store/ingest.h"
#include "coppice/store/seal.h"
#include "coppice/store/usage.h"
#include "coppice/store/vdisk.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "coppice/vdisk/ingest_sink.h"
#include "coppice/vdisk/read_tree.h"
#include "coppice/vdisk/sealer.h"
#include "coppice/vdisk/snapshot_mounts.h"
#include "coppice/vdisk/snapshot_trees.h"
#include "coppice/vdisk/working_layers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

namespace coppice::vdisk {
namespace {

namespace fs = std::filesystem;
using coppice::test::succeeds;
using coppice::test::TempDir;
using coppice::test::value_of;
using store::Snapshot;
using store::SnapshotId;
using store::SnapshotState;

constexpr std::uint64_t kSeeds = 12; ///< few, so that everybody wants what others are letting go
constexpr std::size_t kDeepest = 8;

/// Seconds of hammering; COPPICE_HAMMER_SECONDS=300 for a run under the thread sanitizer.
std::chrono::seconds duration()
{
    const char* const chosen = std::getenv("COPPICE_HAMMER_SECONDS");
    return std::chrono::seconds{chosen == nullptr ? 5 : std::atol(chosen)};
}

/// Somebody else was quicker; that is what the test is for.
bool lost_a_race(const Error& error)
{
    return error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::Conflict;
}

class HammerTest : public testing::Test {
protected:
    void SetUp() override
    {
        COPPICE_NEEDS(Root);
        store_ = value_of(store::Store::open(directory_ / "store"));
        mounts_ = value_of(SnapshotMounts::make(*store_));
        working_ = std::make_unique<WorkingLayers>(*store_, *mounts_);
        sealer_ = std::make_unique<Sealer>(*store_);
        trees_ = std::make_unique<SnapshotTrees>(*store_, *sealer_);
        vdisk_ = value_of(store_->write([](store::Txn& txn) { return store::add_vdisk(txn, "disk"); })).id;
    }

    Snapshot import_one(const std::string& scratch, std::uint64_t seed)
    {
        fs::remove_all(scratch);
        fs::create_directories(scratch);
        power::write_files(scratch, seed);
        const auto source = value_of(os::open_at(os::kCwd, scratch, O_RDONLY | O_DIRECTORY));
        auto tree = value_of(read_tree(source));
        const auto id = security::make_random<SnapshotId>();
        const auto ingest = value_of(store::Ingest::begin(*store_, {.key = id.hex(), .threads = 2}));
        IngestSink sink{*ingest};
        value_of(write_layer(tree, sink, sink));
        const auto layer = value_of(ingest->finish());
        return value_of(store_->write([&](store::Txn& txn) -> Result<Snapshot> {
            TRY(store::add_snapshot(txn, {.id = id,
                                          .vdisk = vdisk_,
                                          .state = SnapshotState::Durable,
                                          .author = "hammer",
                                          .message = std::to_string(seed)}));
            TRY(store::seal_snapshot(txn, id, &layer, store_->node_key()));
            return store::get_snapshot(txn, id);
        }));
    }

    std::vector<Snapshot> all() const
    {
        return value_of(store_->read([&](const store::View& view) { return store::log(view, vdisk_); }));
    }

    /// What is in a snapshot that nobody may take away meanwhile.
    void compare(const Snapshot& snapshot)
    {
        const auto stack = trees_->stack_of(snapshot.id);
        ASSERT_TRUE(succeeds(stack)) << to_text(snapshot.state);
        const auto whole = value_of(merge_trees(*stack));
        EXPECT_EQ(power::compare_files(whole, std::stoull(snapshot.message)), "") << snapshot.id.hex();
        ++compared_;
    }

    /// Images come and go.
    void images(int number)
    {
        std::mt19937_64 random{static_cast<std::uint64_t>(number)};
        const std::string scratch = directory_ / cat("image-", number);
        while (!stop_) {
            const auto made = import_one(scratch, 1 + random() % kSeeds);
            try_lease(made, cat("image-", number));
            const auto gone = sealer_->remove(made.id);
            if (!gone) {
                ASSERT_TRUE(lost_a_race(gone.error())) << gone.error().line(); // a branch was made
            }
        }
    }

    /// One writable layer, its snapshots, and branches from anything.
    void layers(int number)
    {
        std::mt19937_64 random{static_cast<std::uint64_t>(100 + number)};
        const std::string name = cat("w", number);
        value_of(working_->create(name, base_));
        while (!stop_) {
            const auto seed = 1 + random() % kSeeds;
            power::write_files(directory_ / cat("store/working/", name, "/layer/upper"), seed);
            const auto made =
                value_of(working_->freeze(name, {.author = "hammer", .message = std::to_string(seed), .config = {}}));
            if (random() % 2 == 0) value_of(sealer_->make_durable(made.id));
            if (random() % 2 == 0) value_of(sealer_->seal(made.id));
            const auto depth =
                value_of(store_->read([&](const store::View& view) { return store::ancestors(view, made.id); })).size();
            if (depth < kDeepest) continue;
            const auto snapshots = all();
            const auto& target = random() % 2 == 0 ? snapshots[random() % snapshots.size()].id : base_;
            const auto back = working_->rollback(name, target);
            if (!back) {
                ASSERT_TRUE(lost_a_race(back.error())) << back.error().line();
            }
        }
    }

    /// Leaves go, whatever they are.
    void deletions()
    {
        std::mt19937_64 random{200};
        while (!stop_) {
            for (const Snapshot& one : all()) {
                if (one.id == base_ || random() % 3 == 0) continue;
                const auto gone = sealer_->remove(one.id);
                if (gone)
                    ++removed_;
                else
                    ASSERT_TRUE(lost_a_race(gone.error())) << gone.error().line();
            }
            const auto sealed = sealer_->seal_all([&] { return !stop_; });
            if (!sealed) {
                ASSERT_TRUE(stop_ || lost_a_race(sealed.error())) << sealed.error().line();
            }
            value_of(sealer_->remove_sealed_directories());
        }
    }

    void collections()
    {
        while (!stop_)
            collected_ += value_of(store::collect(*store_, {.grace_seconds = 0})).removed_chunks;
    }

    void try_lease(const Snapshot& snapshot, const std::string& name)
    {
        const auto forever = store::Time{INT64_MAX};
        const auto taken =
            store_->write([&](store::Txn& txn) { return store::take_lease(txn, name, snapshot.id, forever); });
        if (!taken) {
            ASSERT_TRUE(lost_a_race(taken.error())) << taken.error().line();
            return;
        }
        compare(snapshot);
        value_of(store_->write([&](store::Txn& txn) { return store::end_lease(txn, name); }));
    }

    void readers()
    {
        std::mt19937_64 random{300};
        while (!stop_) {
            const auto snapshots = all();
            const auto &one = snapshots[random() % snapshots.size()], &two = snapshots[random() % snapshots.size()];
            try_lease(one, "reader");
            const auto told = trees_->diff(one.id, two.id, [](const Change&) -> Result<> { return {}; });
            if (!told) {
                ASSERT_TRUE(lost_a_race(told.error())) << told.error().line();
            }
            value_of(store_->read([](const store::View& view) { return store::usage(view); }));
        }
    }

    TempDir directory_;
    std::unique_ptr<store::Store> store_;
    std::unique_ptr<SnapshotMounts> mounts_;
    std::unique_ptr<WorkingLayers> working_;
    std::unique_ptr<Sealer> sealer_;
    std::unique_ptr<SnapshotTrees> trees_;
    store::VdiskId vdisk_;
    SnapshotId base_;
    std::atomic<bool> stop_ = false;
    std::atomic<std::uint64_t> compared_ = 0, removed_ = 0, collected_ = 0;
};

TEST_F(HammerTest, EverybodyAtOnce)
{
    base_ = import_one(directory_ / "base", 1).id;
    std::vector<std::thread> threads;
    const auto start = [&](auto body) {
        threads.emplace_back([this, body] {
            try {
                body();
            } catch (const std::exception& error) {
                ADD_FAILURE() << error.what();
            }
            stop_ = stop_ || HasFailure();
        });
    };
    start([this] { images(0); });
    start([this] { images(1); });
    start([this] { layers(0); });
    start([this] { layers(1); });
    start([this] { deletions(); });
    start([this] { collections(); });
    start([this] { readers(); });
    const auto begin = std::chrono::steady_clock::now();
    const auto passed = [&](std::chrono::seconds time) { return std::chrono::steady_clock::now() - begin > time; };
    const auto met = [&] { return compared_ > 0 && removed_ > 0 && collected_ > 0; }; // the disk may be slow
    while (!stop_ && !(passed(duration()) && met()) && !passed(duration() + std::chrono::seconds{60}))
        std::this_thread::sleep_for(std::chrono::milliseconds{100});
    stop_ = true;
    for (std::thread& thread : threads)
        thread.join();
    std::printf("%lu contents compared, %lu snapshots and %lu chunks removed meanwhile\n", compared_.load(),
                removed_.load(), collected_.load());
    EXPECT_GT(compared_, 0U);
    EXPECT_GT(removed_, 0U);
    EXPECT_GT(collected_, 0U);
    for (const Snapshot& one : all())
        compare(one);
    value_of(store::collect(*store_, {.grace_seconds = 0}));
    for (const Snapshot& one : all())
        compare(one);
    const auto report = value_of(store::fsck(*store_, store::FsckLevel::Full));
    EXPECT_EQ(report.exit_status(), 0) << (report.findings.empty() ? "" : report.findings[0].what);
}

} // namespace
} // namespace coppice::vdisk
