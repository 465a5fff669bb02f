// Needs: root, for attributes that overlayfs reads.

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/fsck.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "faults.h"
#include "killed_child.h"
#include "node.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <unistd.h>

namespace coppice::vdisk {
namespace {

namespace faults = coppice::test::faults;
namespace fs = std::filesystem;
using coppice::test::succeeds;
using coppice::test::TempDir;
using coppice::test::value_of;
using coppice::test::write_text;
using faults::Kind;
using store::SnapshotId;
using store::SnapshotState;
using test::Node;

SnapshotId import_base(test::Node& node)
{
    test::TestTree t;
    t.directory("etc");
    t.file("etc/motd", "original");
    return test::add_vdisk_of(node, t.tree, 1);
}

/// What was acknowledged; a process can say it to its parent as it is.
struct Acknowledged {
    struct One {
        SnapshotId id;
        SnapshotState state;
        std::array<char, 8> content; ///< of the file "f"
        bool may_be_gone;
    };
    std::array<One, 2> snapshot{};
    std::size_t snapshots = 0;
    std::uint64_t errors = 0;
    bool layer_made = false, layer_may_be_gone = false;
    std::array<char, 8> in_layer{}; ///< what was written above its snapshot, acknowledged by nobody but not to be lost
};

std::array<char, 8> word(std::string_view text)
{
    std::array<char, 8> bytes{};
    std::copy_n(text.data(), std::min(text.size(), bytes.size()), bytes.data());
    return bytes;
}

/// The life of a layer and its snapshots. What fails is tried once more, as a client would.
class Life {
public:
    Life(Node& node, const std::string& root, const SnapshotId& base, std::function<void(const Acknowledged&)> say)
        : node_{node}, root_{root}, base_{base}, say_{std::move(say)}
    {
    }

    template <typename Call> std::invoke_result_t<Call> twice(Call call)
    {
        auto result = call();
        if (result) return result;
        note(result.error());
        result = call();
        if (!result) note(result.error());
        return result;
    }

    void run()
    {
        if (!twice([&] { return create(); })) return;
        all.layer_made = true;
        say_(all);
        write("one");
        if (!snapshot("one")) return;
        bring(0, SnapshotState::Durable, [&] { return make_durable(all.snapshot[0].id); });
        write("two");
        if (!snapshot("two")) return;
        bring(0, SnapshotState::Sealed, [&] { return node_.sealer.seal(all.snapshot[0].id); });
        (void)accept_if_sync_failed(all.snapshot[1].id);
        bring(1, SnapshotState::Sealed, [&] { return node_.sealer.seal(all.snapshot[1].id); });
        (void)twice([&]() -> Result<> {
            TRY(node_.sealer.remove_sealed_directories());
            return {};
        });
        write("three");
        all.in_layer = {};
        say_(all);
        (void)twice([&] { return node_.working.rollback("a", base_); });
        all.snapshot[1].may_be_gone = true;
        say_(all);
        (void)twice([&] { return gone(node_.sealer.remove(all.snapshot[1].id)); });
        all.layer_may_be_gone = true;
        say_(all);
        (void)twice([&] { return gone(node_.working.remove("a")); });
        if (twice([&] { return create(); })) { // the name is free again
            all.layer_may_be_gone = false;
            say_(all);
        }
    }

    Acknowledged all;
    std::vector<std::string> errors;

private:
    /// The first try may have had all of its effect but for the answer.
    static Result<> gone(Result<> removed)
    {
        if (!removed && removed.error().kind() == ErrorKind::NotFound) return {};
        return removed;
    }

    /// What a failed sync has lost no second one brings back: only who accepts that goes on.
    Result<> make_durable(const SnapshotId& id)
    {
        auto done = node_.sealer.make_durable(id);
        if (done || !faults::failed_call().starts_with("syncfs")) return done;
        sync_failed_ = true;
        const auto again = node_.sealer.make_durable(id);
        EXPECT_TRUE(coppice::test::fails_as(ErrorKind::Corrupt, "holes", again));
        EXPECT_TRUE(coppice::test::fails_as(ErrorKind::Corrupt, "holes", node_.sealer.seal(id)));
        EXPECT_EQ(node_.sealer.seal_all().value().doubtful, std::vector{id});
        EXPECT_TRUE(succeeds(node_.sealer.make_durable(id, Sealer::Doubtful::Accept)));
        return done;
    }
    Result<> accept_if_sync_failed(const SnapshotId& id)
    {
        if (!sync_failed_) return {};
        // The branch, too, held what was not synced when the sync failed.
        EXPECT_TRUE(coppice::test::fails_as(ErrorKind::Corrupt, "holes", node_.sealer.seal(id)));
        return node_.sealer.make_durable(id, Sealer::Doubtful::Accept);
    }

    Result<> create()
    {
        auto made = node_.working.create("a", base_);
        if (!made && made.error().kind() == ErrorKind::Conflict) return {};
        return made;
    }

    void note(const Error& error)
    {
        ++all.errors;
        errors.push_back(error.line());
    }

    void write(const char* text)
    {
        const faults::Pause pause;
        write_text(root_ + "/working/a/layer/upper/f", text);
        all.in_layer = word(text);
        say_(all);
    }

    bool snapshot(const char* text)
    {
        const auto made =
            twice([&] { return node_.working.freeze("a", {.author = "t", .message = text, .config = {}}); });
        if (!made) return false;
        all.snapshot[all.snapshots++] = {
            .id = made->id, .state = SnapshotState::Frozen, .content = word(text), .may_be_gone = false};
        say_(all);
        return true;
    }

    template <typename Call> void bring(std::size_t which, SnapshotState state, Call call)
    {
        if (!twice(call)) return;
        all.snapshot[which].state = state;
        say_(all);
    }

    Node& node_;
    std::string root_;
    SnapshotId base_;
    bool sync_failed_ = false;
    std::function<void(const Acknowledged&)> say_;
};

std::array<char, 8> content_of(Node& node, const SnapshotId& id) { return word(test::text_of(node, id, "f")); }

/// What must hold after a restart, whatever happened.
void check(const std::string& root, const SnapshotId& base, const Acknowledged& all)
{
    faults::arm(Kind::Count, 0); // for speed: nothing is synced
    Node node{root};
    EXPECT_TRUE(node.unknown.empty());
    EXPECT_TRUE(node.recovered.unknown.empty());
    const auto report = value_of(store::fsck(*node.store, store::FsckLevel::Full));
    EXPECT_EQ(report.exit_status(), 0) << (report.findings.empty() ? "" : report.findings[0].what);
    for (std::size_t i = 0; i < all.snapshots; ++i) {
        const auto& one = all.snapshot[i];
        const auto found =
            value_of(node.store->read([&](const store::View& view) { return store::find_snapshot(view, one.id); }));
        EXPECT_TRUE(found || one.may_be_gone) << "snapshot " << i << " is lost";
        if (!found) continue;
        EXPECT_GE(found->state, one.state);
        EXPECT_EQ(content_of(node, one.id), one.content);
    }
    const auto layer =
        value_of(node.store->read([](const store::View& view) { return store::find_working(view, "a"); }));
    EXPECT_TRUE(layer || !all.layer_made || all.layer_may_be_gone);
    if (layer && all.in_layer[0] != 0) { // in the layer, or in the snapshot below it
        const auto upper = root + "/working/a/layer/upper/f";
        const auto last = fs::exists(upper) ? word(coppice::test::read_text(upper)) : content_of(node, layer->snapshot);
        EXPECT_EQ(last, all.in_layer);
    }
    // And it goes on from there.
    if (layer) {
        const auto id = value_of(node.working.freeze("a", {.author = "t", .message = "again", .config = {}})).id;
        EXPECT_TRUE(succeeds(node.sealer.seal(id)));
        EXPECT_TRUE(succeeds(node.working.rollback("a", base)));
    } else {
        EXPECT_TRUE(succeeds(node.working.create("a", base)));
    }
    EXPECT_TRUE(succeeds(node.working.remove("a")));
    EXPECT_TRUE(succeeds(node.sealer.remove_sealed_directories()));
    faults::disarm();
}

/// Each how manieth call is tried: COPPICE_FAULT_STRIDE=1 tries all.
std::uint64_t stride()
{
    const char* const chosen = std::getenv("COPPICE_FAULT_STRIDE");
    return chosen == nullptr ? 11 : std::max(1UL, std::strtoul(chosen, nullptr, 10));
}

/// Syncs whose failure loses nothing that anybody was told: of the database, where what a checkpoint copies is still in
/// the log; SQLite's of the directory, which the store has synced itself (by fsync) when it was opened.
bool may_be_ignored(std::string_view call)
{
    return call.ends_with("/store.db") || (call.starts_with("fdatasync ") && call.ends_with("/store"));
}

class SnapshotFaultTest : public testing::TestWithParam<Kind> {
protected:
    void SetUp() override { COPPICE_NEEDS(Root); }

    struct World {
        TempDir directory;
        std::string root = directory / "store";
        SnapshotId base;
        World()
        {
            faults::arm(Kind::Count, 0);
            Node node{root};
            base = import_base(node);
            faults::disarm();
        }
    };

    static std::uint64_t count_calls(Kind kind = Kind::Count)
    {
        World world;
        Node node{world.root};
        Life life{node, world.root, world.base, [](const Acknowledged&) {}};
        faults::arm(Kind::Count, 0);
        life.run();
        const auto changes = faults::disarm();
        const auto calls = kind == Kind::Read ? faults::reading_calls() : changes;
        EXPECT_TRUE(life.errors.empty()) << life.errors.front();
        EXPECT_EQ(life.all.snapshots, 2U);
        return calls;
    }
};

TEST_P(SnapshotFaultTest, EveryCallFailsOnce)
{
    const auto calls = count_calls(GetParam());
    ASSERT_GT(calls, 50U);
    std::uint64_t injected = 0, noticed = 0;
    for (std::uint64_t nth = 1 + static_cast<std::uint64_t>(::getpid()) % stride(); nth <= calls; nth += stride()) {
        SCOPED_TRACE(cat("call ", nth));
        World world;
        Acknowledged all;
        {
            Node node{world.root};
            Life life{node, world.root, world.base, [](const Acknowledged&) {}};
            faults::arm(GetParam(), nth);
            life.run();
            faults::disarm();
            injected += faults::injected();
            noticed += life.errors.empty() ? 0 : 1;
            EXPECT_TRUE(!life.errors.empty() || !faults::is_sync(faults::failed_call()) ||
                        may_be_ignored(faults::failed_call()))
                << "nobody noticed: " << faults::failed_call();
            EXPECT_LE(life.all.errors, 1U) << "not even the second try succeeded: " << life.errors.back();
            for (const std::string& error : life.errors)
                if (GetParam() == Kind::Full || GetParam() == Kind::ShortWrite) {
                    EXPECT_TRUE(error.find("space") != std::string::npos || error.find("repeat") != std::string::npos)
                        << error;
                }
            all = life.all;
        }
        check(world.root, world.base, all);
        if (HasFailure()) break;
    }
    std::printf("%lu calls, %lu failures injected, %lu runs with an error\n", calls, injected, noticed);
    EXPECT_GE(injected, calls / stride() * 9 / 10);
    EXPECT_GE(noticed, injected / 2);
}

INSTANTIATE_TEST_SUITE_P(Kinds, SnapshotFaultTest, testing::Values(Kind::Io, Kind::Full, Kind::ShortWrite, Kind::Read),
                         [](const auto& one) {
                             return one.param == Kind::Io     ? "Io"
                                    : one.param == Kind::Full ? "Full"
                                    : one.param == Kind::Read ? "Read"
                                                              : "ShortWrite";
                         });

TEST_F(SnapshotFaultTest, AFailedSyncLeavesDoubt)
{
    World world;
    Node node{world.root};
    Life life{node, world.root, world.base, [](const Acknowledged&) {}};
    faults::arm(Kind::Io, 1, "syncfs");
    life.run();
    EXPECT_EQ(faults::injected(), 1U);
    faults::disarm();
    EXPECT_EQ(life.all.errors, 1U);
    EXPECT_EQ(life.all.snapshots, 2U);
}

class SnapshotKillTest : public SnapshotFaultTest {};

TEST_P(SnapshotKillTest, AtEveryCall)
{
    const auto calls = count_calls();
    std::uint64_t killed = 0;
    for (std::uint64_t nth = 1 + static_cast<std::uint64_t>(::getpid()) % stride(); nth <= calls; nth += stride()) {
        SCOPED_TRACE(cat("call ", nth));
        World world;
        Acknowledged all;
        killed += faults::run_in_child(all, [&](const auto& say) {
            Node node{world.root};
            Life life{node, world.root, world.base, say};
            faults::arm(Kind::Kill, nth);
            life.run();
        });
        check(world.root, world.base, all);
        if (HasFailure()) break;
    }
    std::printf("%lu calls, %lu kills\n", calls, killed);
    EXPECT_GE(killed, calls / stride() * 9 / 10);
}

INSTANTIATE_TEST_SUITE_P(Kill, SnapshotKillTest, testing::Values(Kind::Kill), [](const auto&) { return "Kill"; });

} // namespace
} // namespace coppice::vdisk
