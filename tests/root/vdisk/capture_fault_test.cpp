// Needs: root, for attributes that overlayfs reads.

#include "coppice/base/text.h"
#include "coppice/store/fsck.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "faults.h"
#include "killed_child.h"
#include "node.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <optional>
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
using test::Node;

/// A branch "a" with something of each kind in its upper directory.
struct World {
    TempDir directory;
    std::string root = directory / "store", upper = root + "/working/a/layer/upper";
    World()
    {
        faults::arm(Kind::Count, 0); // for speed: nothing is synced
        Node node{root};
        test::TestTree t;
        t.file("f", "original");
        value_of(node.working.create("a", test::add_vdisk_of(node, t.tree, 1)));
        faults::disarm();
        fs::create_directory(upper + "/d");
        write_text(upper + "/f", "one");
        write_text(upper + "/d/g", "two names");
        fs::create_hard_link(upper + "/d/g", upper + "/h");
        fs::create_symlink("f", upper + "/soft");
        ::mknod((upper + "/gone").c_str(), S_IFCHR, 0);
        ::usleep(30'000); // old enough for the first pass
    }
};

/// What was acknowledged; a process can say it to its parent as it is.
struct Acknowledged {
    std::optional<SnapshotId> snapshot;
    bool halted = false;
};

/// Tried once more if it fails. @returns how often it failed
unsigned capture(Node& node, const std::string& upper, const std::function<void(const Acknowledged&)>& say)
{
    Acknowledged all;
    const Quiet quiet{.halt = [&]() -> Result<> {
                          EXPECT_FALSE(std::exchange(all.halted, true));
                          const faults::Pause pause;
                          write_text(upper + "/late", "late");
                          return {};
                      },
                      .resume = [&]() -> Result<> {
                          EXPECT_TRUE(std::exchange(all.halted, false));
                          return {};
                      }};
    for (unsigned failures = 0; failures < 2; ++failures) {
        const auto made = node.working.capture(
            "a",
            {.author = "t", .message = "m", .config = {}, .request = store::RequestKey{.key = "k", .fingerprint = "f"}},
            quiet, store::unwatched);
        EXPECT_FALSE(all.halted);
        if (!made) continue;
        all.snapshot = made->snapshot.id;
        say(all);
        return failures;
    }
    return 2;
}

/// What must hold after a restart: the branch has all it had; a snapshot is whole, or is not there.
void check(const World& world, const Acknowledged& all)
{
    faults::arm(Kind::Count, 0);
    Node node{world.root};
    EXPECT_TRUE(node.unknown.empty());
    EXPECT_TRUE(node.recovered.unknown.empty());
    EXPECT_EQ(value_of(store::fsck(*node.store, store::FsckLevel::Full)).exit_status(), 0);
    EXPECT_TRUE(succeeds(node.working.sweep()));
    EXPECT_FALSE(fs::exists(world.root + "/working/a/capture"));
    std::vector<store::Snapshot> made;
    value_of(node.store->read([&](const store::View& view) -> Result<> {
        made = TRY(store::unsealed(view));
        return {};
    }));
    EXPECT_LE(made.size(), 1U);
    EXPECT_EQ(std::distance(fs::directory_iterator{world.root + "/frozen"}, {}),
              static_cast<std::ptrdiff_t>(made.size()));
    EXPECT_TRUE(!all.snapshot || (!made.empty() && made.front().id == *all.snapshot));
    for (const store::Snapshot& one : made) {
        EXPECT_TRUE(succeeds(node.sealer.seal(one.id)));
        EXPECT_EQ(test::text_of(node, one.id, "f") + test::text_of(node, one.id, "h") +
                      test::text_of(node, one.id, "late"),
                  "onetwo nameslate");
    }
    const auto id = value_of(node.working.freeze("a", {.author = "t", .message = {}, .config = {}})).id;
    EXPECT_TRUE(succeeds(node.sealer.seal(id)));
    EXPECT_EQ(test::text_of(node, id, "d/g"), "two names");
    faults::disarm();
}

class CaptureFaultTest : public testing::TestWithParam<Kind> {
protected:
    void SetUp() override { COPPICE_NEEDS(Root); }
    static std::uint64_t count_calls()
    {
        World world;
        Node node{world.root};
        faults::arm(Kind::Count, 0);
        EXPECT_EQ(capture(node, world.upper, [](const Acknowledged&) {}), 0U);
        const auto changes = faults::disarm();
        return GetParam() == Kind::Read ? faults::reading_calls() : changes;
    }
};

TEST_P(CaptureFaultTest, AtEveryCall)
{
    const auto calls = count_calls();
    ASSERT_GT(calls, 30U);
    std::uint64_t injected = 0;
    for (std::uint64_t nth = 1; nth <= calls; ++nth) {
        SCOPED_TRACE(cat("call ", nth));
        const World world;
        Acknowledged all;
        const auto live = [&](const auto& say) {
            Node node{world.root};
            faults::arm(GetParam(), nth);
            EXPECT_LE(capture(node, world.upper, say), 1U) << "not even the second try succeeded";
            faults::disarm();
        };
        if (GetParam() == Kind::Kill) {
            injected += faults::run_in_child(all, live) ? 1 : 0;
        } else {
            live([&](const Acknowledged& said) { all = said; });
            injected += faults::injected();
        }
        check(world, all);
        if (HasFailure()) break;
    }
    std::printf("%lu calls, %lu faults\n", calls, injected);
    EXPECT_GE(injected, calls * 9 / 10);
}

TEST_F(CaptureFaultTest, AFailedSyncLeavesDoubtAboutTheCopy)
{
    World world;
    Node node{world.root};
    const auto other = value_of(node.working.freeze("a", {.author = "t", .message = {}, .config = {}})).id;
    const Quiet quiet{.halt = [] { return Result<>{}; },
                      .resume = [&]() -> Result<> { // the copy is complete, and only in memory
                          faults::arm(Kind::Io, 1, "syncfs");
                          EXPECT_FALSE(node.sealer.make_durable(other));
                          faults::disarm();
                          return {};
                      }};
    const auto made =
        value_of(node.working.capture("a", {.author = "t", .message = {}, .config = {}}, quiet, store::unwatched));
    EXPECT_TRUE(succeeds(node.sealer.make_durable(other, Sealer::Doubtful::Accept)));
    EXPECT_TRUE(coppice::test::fails_as(ErrorKind::Corrupt, "holes", node.sealer.make_durable(made.snapshot.id)));
}

INSTANTIATE_TEST_SUITE_P(Kinds, CaptureFaultTest, testing::Values(Kind::Io, Kind::Full, Kind::Read, Kind::Kill),
                         [](const auto& one) {
                             return one.param == Kind::Io     ? "Io"
                                    : one.param == Kind::Full ? "Full"
                                    : one.param == Kind::Read ? "Read"
                                                              : "Kill";
                         });

} // namespace
} // namespace coppice::vdisk
