// Needs: root, to mount.

#include "coppice/base/text.h"
#include "coppice/os/mount.h"
#include "coppice/store/fsck.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "faults.h"
#include "killed_child.h"
#include "node.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <optional>
#include <unistd.h>

namespace coppice::vdisk {
namespace {

namespace faults = coppice::test::faults;
namespace fs = std::filesystem;
using coppice::test::read_text;
using coppice::test::succeeds;
using coppice::test::TempDir;
using coppice::test::value_of;
using faults::Kind;
using store::SnapshotId;
using test::Node;

/// A branch "a" and a directory to mount it at.
struct World {
    TempDir directory;
    std::string root = directory / "store", path = directory / "m";
    World()
    {
        faults::arm(Kind::Count, 0); // for speed: nothing is synced
        fs::create_directory(path);
        Node node{root};
        test::TestTree t;
        t.file("f", "original");
        const auto base = test::add_vdisk_of(node, t.tree, 1);
        value_of(node.working.create("a", base));
        faults::disarm();
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;
    ~World()
    {
        while (os::unmount(path)) {
        }
    }
};

std::optional<MountRecord> mounted(Node& node)
{
    const auto records = value_of(node.mounts->records());
    return records.empty() ? std::nullopt : std::optional{records.front()};
}

/// What was acknowledged; a process can say it to its parent as it is.
struct Acknowledged {
    std::optional<SnapshotId> snapshot;      ///< that holds "one"
    std::array<char, 9> content{"original"}; ///< of the file "f" in the branch
    std::uint64_t errors = 0;
};

/// Mounted, written, made a snapshot of, written, unmounted. What fails is tried once more.
class Life {
public:
    Life(Node& node, std::string path, std::function<void(const Acknowledged&)> say)
        : node_{node}, path_{std::move(path)}, say_{std::move(say)}
    {
    }

    void run()
    {
        say_(all);
        if (!twice([&] { return attach(); })) return;
        write("one");
        (void)twice([&] { return snapshot(); });
        if (!twice([&] { return attach(); })) return; // it may have been taken off by an error
        write("two");
        (void)twice([&]() -> Result<> {
            auto off = node_.mounts->detach(path_);
            if (!off && off.error().kind() == ErrorKind::NotFound) return {};
            return off;
        });
    }
    Acknowledged all;
    std::string last_error;

private:
    bool twice(const std::function<Result<>()>& call)
    {
        auto done = call();
        if (done) return true;
        note(done.error());
        done = call();
        if (!done) note(done.error());
        return done.has_value();
    }
    void note(const Error& error)
    {
        ++all.errors;
        last_error = error.line();
        const faults::Pause pause;
        if (mounted(node_)) { // an error leaves it as it was, or not mounted
            EXPECT_TRUE(std::ofstream{path_ + "/probe"} << "x") << last_error;
        }
    }
    Result<> attach()
    {
        {
            const faults::Pause pause;
            if (mounted(node_)) return {};
        }
        TRY(node_.mounts->attach_working("a", path_));
        return {};
    }
    Result<> snapshot()
    {
        if (all.snapshot) return {}; // done, only not mounted again
        std::optional<MountRecord> record;
        {
            const faults::Pause pause;
            record = mounted(node_);
        }
        const auto freeze = [&]() -> Result<> {
            const auto made = TRY(node_.working.freeze("a", {.author = "t", .message = "one", .config = {}}));
            all.snapshot = made.id;
            say_(all);
            return {};
        };
        return record ? node_.mounts->while_quiet(*record, freeze) : freeze();
    }
    void write(std::string_view text)
    {
        const faults::Pause pause;
        EXPECT_TRUE(std::ofstream{path_ + "/f"} << text);
        all.content = {};
        std::copy(text.begin(), text.end(), all.content.begin());
        say_(all);
    }

    Node& node_;
    std::string path_;
    std::function<void(const Acknowledged&)> say_;
};

/// What must hold after a restart, whatever happened.
void check(const World& world, const Acknowledged& all)
{
    faults::arm(Kind::Count, 0);
    Node node{world.root};
    EXPECT_TRUE(node.unknown.empty());
    if (!mounted(node)) value_of(node.mounts->attach_working("a", world.path));
    EXPECT_EQ(read_text(world.path + "/f"), all.content.data());
    EXPECT_TRUE(std::ofstream{world.path + "/g"} << "it can be written") << "read-only";
    EXPECT_TRUE(succeeds(node.mounts->while_quiet(*mounted(node), [&]() -> Result<> {
        TRY(node.working.freeze("a", {.author = "t", .message = "again", .config = {}}));
        return {};
    })));
    EXPECT_EQ(read_text(world.path + "/g"), "it can be written");
    if (all.snapshot) {
        EXPECT_EQ(test::text_of(node, *all.snapshot, "f"), "one");
    }
    EXPECT_TRUE(succeeds(node.mounts->detach(world.path)));
    EXPECT_TRUE(value_of(node.mounts->records()).empty());
    EXPECT_TRUE(value_of(node.store->read([](const store::View& view) { return store::leases(view); })).empty());
    const auto report = value_of(store::fsck(*node.store, store::FsckLevel::Quick));
    EXPECT_EQ(report.exit_status(), 0) << (report.findings.empty() ? "" : report.findings[0].what);
    faults::disarm();
}

class MountedFaultTest : public testing::TestWithParam<Kind> {
protected:
    void SetUp() override { COPPICE_NEEDS(Root); }
    static constexpr std::uint64_t kStride = 3;
    static std::uint64_t first() { return 1 + static_cast<std::uint64_t>(::getpid()) % kStride; }

    static std::uint64_t count_calls(Kind kind)
    {
        World world;
        Node node{world.root};
        Life life{node, world.path, [](const Acknowledged&) {}};
        faults::arm(Kind::Count, 0);
        life.run();
        const auto changes = faults::disarm();
        EXPECT_EQ(life.all.errors, 0U) << life.last_error;
        EXPECT_TRUE(life.all.snapshot);
        return kind == Kind::Read ? faults::reading_calls() : changes;
    }
};

TEST_P(MountedFaultTest, EveryCallFailsOnce)
{
    const auto calls = count_calls(GetParam());
    ASSERT_GT(calls, 20U);
    std::uint64_t injected = 0, noticed = 0;
    for (std::uint64_t nth = first(); nth <= calls && !HasFailure(); nth += kStride) {
        SCOPED_TRACE(cat("call ", nth));
        World world;
        Acknowledged all;
        {
            Node node{world.root};
            Life life{node, world.path, [](const Acknowledged&) {}};
            faults::arm(GetParam(), nth);
            life.run();
            faults::disarm();
            injected += faults::injected();
            noticed += life.all.errors == 0 ? 0 : 1;
            SCOPED_TRACE(cat(faults::failed_call(), ": ", life.last_error));
            EXPECT_LE(life.all.errors, 1U) << "not even the second try succeeded";
            all = life.all;
        }
        check(world, all);
    }
    std::printf("%lu calls, %lu failures injected, %lu runs with an error\n", calls, injected, noticed);
    EXPECT_GE(injected, calls / kStride * 9 / 10);
    EXPECT_GE(noticed, injected / 2);
}

INSTANTIATE_TEST_SUITE_P(Kinds, MountedFaultTest, testing::Values(Kind::Io, Kind::Full),
                         [](const auto& one) { return one.param == Kind::Io ? "Io" : "Full"; });

class MountedKillTest : public MountedFaultTest {};

TEST_P(MountedKillTest, AtEveryCall)
{
    const auto calls = count_calls(Kind::Count);
    std::uint64_t killed = 0;
    for (std::uint64_t nth = first(); nth <= calls && !HasFailure(); nth += kStride) {
        SCOPED_TRACE(cat("call ", nth));
        World world;
        Acknowledged all;
        killed += faults::run_in_child(all, [&](const auto& say) {
            Node node{world.root};
            Life life{node, world.path, say};
            faults::arm(Kind::Kill, nth);
            life.run();
        });
        check(world, all);
    }
    std::printf("%lu calls, %lu kills\n", calls, killed);
    EXPECT_GE(killed, calls / kStride * 9 / 10);
}

INSTANTIATE_TEST_SUITE_P(Kill, MountedKillTest, testing::Values(Kind::Kill), [](const auto&) { return "Kill"; });

} // namespace
} // namespace coppice::vdisk
