// Snapshots of branches that somebody writes into: the copy of their upper directory, and what becomes of it.

#include "coppice/test/child.h"
#include "copy_upper.h"
#include "raw_tree.h"
#include "snapshot_fixture.h"

#include <atomic>
#include <cstring>
#include <fstream>
#include <random>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>

namespace coppice::vdisk::test {
namespace {

using Writers = UpperCopy::Writers;

void age() { std::this_thread::sleep_for(std::chrono::milliseconds{40}); } // what was written counts as old then

/// Does anything to a small set of names, again and again.
class Chaos {
public:
    Chaos(std::string root, unsigned seed) : root_{std::move(root)}, random_{seed} {}

    void step()
    {
        std::error_code ignored;
        const std::string a = any(), b = any();
        switch (random_() % 16) {
        case 0:
        case 1:
        case 2: write(a, O_TRUNC); break;
        case 3: write(a, O_APPEND); break;
        case 4: store(a); break;
        case 5:
        case 6: fs::create_directory(a, ignored); break;
        case 7: fs::remove_all(a, ignored); break;
        case 8: fs::remove(a, ignored); break;
        case 9:
        case 10: fs::rename(a, b, ignored); break;
        case 11: fs::create_hard_link(a, b, ignored); break;
        case 12: fs::create_symlink(std::to_string(random_() % 9), a, ignored); break;
        case 13: (void)::chmod(a.c_str(), static_cast<mode_t>(0700 + random_() % 64)); break;
        case 14: (void)::setxattr(a.c_str(), "user.test", "abc", 1 + random_() % 3, 0); break;
        default: (void)::mkfifo(a.c_str(), 0600); break;
        }
    }

private:
    std::string any()
    {
        std::string path = root_;
        for (auto depth = 1 + random_() % 3; depth > 0; --depth)
            path += cat('/', "abcde"[random_() % 5]);
        return path;
    }
    void write(const std::string& path, int flags)
    {
        // It may be a FIFO that nobody reads.
        const os::Fd file{::open(path.c_str(), O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC | flags, 0644)};
        if (file.is_open()) (void)os::write_all(file.get(), std::to_string(random_()), path);
    }
    void store(const std::string& path)
    {
        const os::Fd file{::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW)};
        struct stat status{};
        if (!file.is_open() || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size == 0)
            return;
        auto* const bytes = static_cast<char*>(::mmap(nullptr, 1, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
        if (bytes == MAP_FAILED) return;
        *bytes = static_cast<char>('a' + random_() % 26);
        ::munmap(bytes, 1);
    }

    std::string root_;
    std::mt19937 random_;
};

class CaptureTest : public SnapshotTest {
protected:
    void SetUp() override
    {
        SnapshotTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        value_of(node_->working.create("a", base_));
    }

    [[nodiscard]] std::string upper() const { return directory_ / "store/working/a/layer/upper"; }
    os::Fd open(const std::string& path) const { return value_of(os::open_at(os::kCwd, path, O_RDONLY | O_DIRECTORY)); }

    /// A copy of the upper directory into a new one at `name`.
    UpperCopy copy_into(const std::string& name, store::Watch watch = store::unwatched)
    {
        directory_.make_directory(name);
        directory_.make_directory(name + "-links");
        UpperCopy::Places places;
        places.from = open(upper());
        places.to = open(directory_ / name);
        places.links = open(directory_ / (name + "-links"));
        return UpperCopy{std::move(places), std::move(watch)};
    }
    /// The copy is what the upper directory is.
    void check(const std::string& name)
    {
        fs::remove_all(directory_ / (name + "-links")); // which are further names
        EXPECT_EQ(raw_tree(directory_ / name), raw_tree(upper()));
    }
    /// `before` is copied while it could still be written, then comes `change`.
    void changed_between(const std::string& name, const std::function<void(const std::string& root)>& before,
                         const std::function<void(const std::string& root)>& change)
    {
        in_layer("a", [&](const std::string& root) {
            before(root);
            age();
            auto copy = copy_into(name);
            value_of(copy.pass(Writers::Running));
            check_copied(name);
            change(root);
            value_of(copy.pass(Writers::Halted));
            check(name);
        });
    }
    /// The first pass has left nothing: so it is the second one that is tested.
    void check_copied(const std::string& name)
    {
        EXPECT_EQ(raw_tree(directory_ / name).size(), raw_tree(upper()).size());
    }

    /// A capture by somebody who says what happens at the halt.
    Result<Captured> capture(const std::function<void()>& at_halt = [] {})
    {
        const Quiet quiet{.halt = [&]() -> Result<> {
                              ++halts_;
                              at_halt();
                              return {};
                          },
                          .resume = [&]() -> Result<> {
                              ++resumes_;
                              return {};
                          }};
        return node_->working.capture("a", {.author = "t", .message = "m", .config = {}}, quiet, watch_);
    }
    /// The branch mounted as an instance has it, while `body` goes on.
    void in_use(const std::function<void(const std::string& root)>& body)
    {
        const auto stacked = value_of(node_->mounts->open_working("a", "instance-a"));
        body(os::path_of(stacked.mount.get()));
        value_of(node_->mounts->release("instance-a"));
    }
    [[nodiscard]] bool is_swept()
    {
        value_of(node_->working.sweep());
        std::size_t entries = 0;
        for ([[maybe_unused]] const auto& entry : fs::directory_iterator{directory_ / "store/working/a"})
            ++entries;
        return entries == 2; // layer, lower
    }

    int halts_ = 0, resumes_ = 0;
    store::Watch watch_ = store::unwatched;
};

TEST_F(CaptureTest, EverythingIsCopiedRaw)
{
    in_layer("a", [&](const std::string& root) {
        change_all_sorts(root);
        write_text(root + "/sparse", "begin");
        fs::resize_file(root + "/sparse", 64U << 20);
        std::ofstream{root + "/sparse", std::ios::app} << "end";
        ASSERT_EQ(::symlink("target", (root + "/soft").c_str()), 0);
        ASSERT_EQ(::lchown((root + "/soft").c_str(), 1, 2), 0);
        ASSERT_EQ(::setxattr((root + "/soft/.").c_str(), "user.no", "x", 1, 0), -1);
        ASSERT_EQ(::mknod((root + "/device").c_str(), S_IFBLK | 0640, makedev(7, 9)), 0);
        ASSERT_EQ(::chmod((root + "/etc/new").c_str(), 04755), 0);
        const os::Fd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
        std::strncpy(address.sun_path, (root + "/socket").c_str(), sizeof address.sun_path - 1);
        ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        std::string deep = root;
        for (int i = 0; i < 300; ++i) { // deeper than a path may be long
            deep += "/a-name-of-a-directory";
            if (deep.size() < 4000) fs::create_directory(deep);
        }
    });
    age();
    auto copy = copy_into("copy");
    value_of(copy.pass(Writers::Running));
    value_of(copy.pass(Writers::Halted));
    check("copy");
    EXPECT_LT(copy.copied(), 1U << 20) << "holes are not copied";
    struct stat status{};
    ASSERT_EQ(::stat((directory_ / "copy/sparse").c_str(), &status), 0);
    EXPECT_LT(status.st_blocks, 1024);
}

TEST_F(CaptureTest, WhatIsNotChangedIsNotCopiedAgain)
{
    in_layer("a", [](const std::string& root) { write_text(root + "/large", noise(1'000'000, 3)); });
    age();
    auto copy = copy_into("copy");
    value_of(copy.pass(Writers::Running));
    EXPECT_GT(copy.work(), 1'000'000U);
    const auto copied = copy.copied();
    value_of(copy.pass(Writers::Running));
    EXPECT_EQ(copy.work(), 0U);
    value_of(copy.pass(Writers::Halted));
    EXPECT_EQ(copy.copied(), copied);
    check("copy");
}

TEST_F(CaptureTest, DirectoriesThatMove)
{
    changed_between(
        "copy",
        [](const std::string& root) {
            fs::create_directories(root + "/p/inner");
            fs::create_directory(root + "/q");
            write_text(root + "/p/inner/f", "1");
            fs::create_hard_link(root + "/p/inner/f", root + "/q/g");
            fs::create_hard_link(root + "/p/inner/f", root + "/p/h");
        },
        [](const std::string& root) {
            fs::rename(root + "/p/inner", root + "/p/moved");
            fs::rename(root + "/p", root + "/z");
            fs::create_directory(root + "/p");
            write_text(root + "/p/inner", "now a file");
        });
}

TEST_F(CaptureTest, OneThingTakesThePlaceOfAnother)
{
    changed_between(
        "copy",
        [](const std::string& root) {
            write_text(root + "/file", "1");
            fs::create_directory(root + "/directory");
            write_text(root + "/directory/f", "1");
            write_text(root + "/etc/doomed", "written, so it is in the upper directory");
            write_text(root + "/dir/one", "here, too");
            fs::create_symlink("a", root + "/soft");
            ASSERT_EQ(::mkfifo((root + "/fifo").c_str(), 0600), 0);
        },
        [](const std::string& root) {
            fs::remove(root + "/file");
            fs::create_directory(root + "/file");
            fs::remove_all(root + "/directory");
            write_text(root + "/directory", "a file");
            fs::remove(root + "/etc/doomed"); // a whiteout
            fs::remove(root + "/etc/motd");   // another one
            fs::remove_all(root + "/dir");
            fs::create_directory(root + "/dir"); // opaque
            write_text(root + "/dir/new", "n");
            fs::remove(root + "/soft");
            fs::create_symlink("b", root + "/soft");
            fs::remove(root + "/fifo");
            write_text(root + "/fifo", "a file");
        });
}

TEST_F(CaptureTest, HardLinksComeAndGo)
{
    changed_between(
        "copy",
        [](const std::string& root) {
            for (const char* const name : {"/a1", "/b1", "/c1", "/d1"})
                write_text(root + name, name);
            fs::create_hard_link(root + "/b1", root + "/b2");
            fs::create_hard_link(root + "/c1", root + "/c2");
            fs::create_hard_link(root + "/d1", root + "/d2");
            fs::create_directory(root + "/e");
            fs::create_hard_link(root + "/d1", root + "/e/d3");
        },
        [](const std::string& root) {
            fs::create_hard_link(root + "/a1", root + "/a2");
            fs::remove(root + "/b1");
            fs::remove(root + "/c2");
            write_text(root + "/c2", "/c1"); // looks the same, and is not
            std::ofstream{root + "/e/d3", std::ios::app} << "for all three";
        });
}

TEST_F(CaptureTest, OnlyTheLookIsChanged)
{
    changed_between(
        "copy",
        [](const std::string& root) {
            for (const char* const name : {"/mode", "/owner", "/time", "/with", "/same-size"})
                write_text(root + name, "text");
            ASSERT_EQ(::setxattr((root + "/with").c_str(), "user.one", "1", 1, 0), 0);
            fs::create_directory(root + "/d");
            ASSERT_EQ(::setxattr((root + "/d").c_str(), "user.one", "1", 1, 0), 0);
        },
        [](const std::string& root) {
            ASSERT_EQ(::chmod((root + "/mode").c_str(), 0111), 0);
            ASSERT_EQ(::chown((root + "/owner").c_str(), 11, 12), 0);
            const std::array<timespec, 2> times{timespec{.tv_sec = 5, .tv_nsec = 6},
                                                timespec{.tv_sec = 7, .tv_nsec = 8}};
            ASSERT_EQ(::utimensat(AT_FDCWD, (root + "/time").c_str(), times.data(), 0), 0);
            ASSERT_EQ(::removexattr((root + "/with").c_str(), "user.one"), 0);
            ASSERT_EQ(::setxattr((root + "/with").c_str(), "user.two", "2", 1, 0), 0);
            ASSERT_EQ(::removexattr((root + "/d").c_str(), "user.one"), 0);
            ASSERT_EQ(::chmod((root + "/d").c_str(), 0750), 0);
            struct stat before{};
            ASSERT_EQ(::stat((root + "/same-size").c_str(), &before), 0);
            write_text(root + "/same-size", "TEXT");
            const std::array<timespec, 2> same{before.st_atim, before.st_mtim};
            ASSERT_EQ(::utimensat(AT_FDCWD, (root + "/same-size").c_str(), same.data(), 0), 0);
        });
}

TEST_F(CaptureTest, AStoreThroughAMappingIsSeen)
{
    in_layer("a", [&](const std::string& root) {
        write_text(root + "/mapped", std::string(8192, 'a'));
        const os::Fd file{::open((root + "/mapped").c_str(), O_RDWR | O_CLOEXEC)};
        auto* const bytes =
            static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
        ASSERT_NE(bytes, MAP_FAILED);
        bytes[0] = 'b'; // the page is dirty: the next store tells nobody, unless it is written back first
        age();
        auto copy = copy_into("copy");
        value_of(copy.pass(Writers::Running));
        check_copied("copy");
        bytes[0] = 'c';
        value_of(copy.pass(Writers::Halted));
        EXPECT_EQ(read_text(directory_ / "copy/mapped").front(), 'c');
        check("copy");
        ::munmap(bytes, 8192);
    });
}

TEST_F(CaptureTest, WhatHasJustChangedIsLeftToALaterPass)
{
    auto copy = copy_into("copy");
    in_layer("a", [&](const std::string& root) {
        write_text(root + "/fresh", "1");
        value_of(copy.pass(Writers::Running));
    });
    EXPECT_FALSE(fs::exists(directory_ / "copy/fresh")) << "its next change could leave it with the same ctime";
    EXPECT_GT(copy.work(), 0U);
    value_of(copy.pass(Writers::Halted));
    check("copy");
}

TEST_F(CaptureTest, SomebodyWhoWasNotHaltedIsSeen)
{
    in_layer("a", [](const std::string& root) {
        write_text(root + "/f", "1");
        write_text(root + "/g", "1");
    });
    const auto gone = upper() + "/g";
    auto copy = copy_into("copy", [&](std::uint64_t) -> Result<> {
        fs::remove(gone); // it was listed by now
        return {};
    });
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "not halted", copy.pass(Writers::Halted)));
}

TEST_F(CaptureTest, WhateverIsDoneMeanwhile)
{
    for (unsigned seed = 1; seed <= 25; ++seed) {
        SCOPED_TRACE(seed);
        in_layer("a", [&](const std::string& root) {
            Chaos chaos{root, seed};
            for (int i = 0; i < 300; ++i)
                chaos.step();
            age();
            const std::string name = cat("copy", seed);
            auto copy = copy_into(name);
            std::atomic<bool> over = false;
            std::thread writer{[&] {
                while (!over)
                    chaos.step();
            }};
            for (int i = 0; i < 4; ++i)
                EXPECT_TRUE(succeeds(copy.pass(Writers::Running)));
            over = true;
            writer.join();
            age();
            EXPECT_TRUE(succeeds(copy.pass(Writers::Running)));
            for (int i = 0; i < 20; ++i)
                chaos.step();
            EXPECT_TRUE(succeeds(copy.pass(Writers::Halted)));
            check(name);
        });
        if (HasFailure()) break;
    }
}

TEST_F(CaptureTest, ASnapshotBesideTheBranch)
{
    in_use([&](const std::string& root) {
        change_all_sorts(root);
        const auto captured = value_of(capture([&] { write_text(root + "/etc/motd", "at the halt"); }));
        ASSERT_TRUE(captured.cost);
        EXPECT_EQ(halts_ + resumes_, 2);
        EXPECT_FALSE(captured.cost->shared);
        EXPECT_GE(captured.cost->copied_bytes, 5000U);
        write_text(root + "/etc/motd", "later");
        const auto id = captured.snapshot.id;
        EXPECT_EQ(captured.snapshot.parent, base_);
        EXPECT_EQ(below("a"), base_) << "the branch stays where it is";
        EXPECT_EQ(read_text(root + "/etc/motd"), "later");
        value_of(node_->sealer.make_durable(id));
        value_of(node_->sealer.seal(id));
        EXPECT_EQ(text_in(id, "etc/motd"), "at the halt");
        const auto next = value_of(capture()).snapshot;
        EXPECT_EQ(next.parent, base_);
        value_of(node_->sealer.seal(next.id));
        EXPECT_EQ(text_in(next.id, "etc/motd"), "later");
        EXPECT_EQ(mounted(next.id), merged(next.id));
    });
    EXPECT_TRUE(is_swept());
    EXPECT_EQ(snapshots(), 2U);
}

TEST_F(CaptureTest, ARepeatedRequestMakesNothing)
{
    const FreezeNote note{
        .author = "t", .message = "m", .config = {}, .request = store::RequestKey{.key = "k", .fingerprint = "f"}};
    const Quiet quiet{.halt = [] { return Result<>{}; }, .resume = [] { return Result<>{}; }};
    const auto first = value_of(node_->working.capture("a", note, quiet, store::unwatched));
    const auto second = value_of(node_->working.capture("a", note, quiet, store::unwatched));
    EXPECT_EQ(first.snapshot.id, second.snapshot.id);
    EXPECT_TRUE(first.cost);
    EXPECT_FALSE(second.cost);
    EXPECT_EQ(snapshots(), 1U);
}

TEST_F(CaptureTest, WhateverFailsEverybodyGoesOn)
{
    in_use([&](const std::string& root) {
        write_text(root + "/etc/motd", "x");
        watch_ = [&](std::uint64_t) -> Result<> {
            if (halts_ == 1) return fail(ErrorKind::Unavailable, "stopped in the pause");
            return {};
        };
        EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped in the pause", capture()));
        EXPECT_EQ(resumes_, 1);
        watch_ = [](std::uint64_t) { return Result<>{fail(ErrorKind::Unavailable, "stopped before")}; };
        EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped before", capture()));
        EXPECT_EQ(halts_, 1);
        watch_ = store::unwatched;
        const Quiet refusing{.halt = [] { return Result<>{fail(ErrorKind::Conflict, "does not run")}; },
                             .resume = [&]() -> Result<> {
                                 ++resumes_;
                                 return {};
                             }};
        EXPECT_TRUE(fails_as(
            ErrorKind::Conflict, "does not run",
            node_->working.capture("a", {.author = "t", .message = {}, .config = {}}, refusing, store::unwatched)));
        EXPECT_EQ(resumes_, 1) << "nobody was halted";
        EXPECT_TRUE(is_swept());
        EXPECT_EQ(snapshots(), 0U);
        EXPECT_TRUE(succeeds(capture()));
    });
}

TEST_F(CaptureTest, NothingElseIsDoneWithTheBranchMeanwhile)
{
    value_of(node_->working.create("b", base_));
    EXPECT_TRUE(succeeds(capture([&] {
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, "is being made", node_->working.freeze("a", {"t", "", ""})));
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, "is being made", node_->working.rollback("a", base_)));
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, "is being made", node_->working.remove("a")));
        EXPECT_TRUE(succeeds(node_->working.freeze("b", {"t", "", ""}))) << "others do not wait";
    })));
    EXPECT_TRUE(succeeds(node_->working.remove("a")));
}

TEST_F(CaptureTest, DoubtGoesWithTheCopy)
{
    const auto marked = [&](const std::string& path) {
        return ::setxattr((directory_ / path).c_str(), "trusted.coppice.doubtful", "y", 1, 0) == 0;
    };
    const auto early = value_of(capture([&] { EXPECT_TRUE(marked("store/working/a/layer/upper")); })).snapshot.id;
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "holes", node_->sealer.make_durable(early)));
    value_of(node_->working.rollback("a", base_));
    const auto late = value_of(capture([&] { EXPECT_TRUE(marked("store/working/a/capture/upper")); })).snapshot.id;
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "holes", node_->sealer.make_durable(late)))
        << "what was copied may be lost";
}

TEST_F(CaptureTest, KilledAtEveryStep)
{
    in_layer("a", change_all_sorts);
    std::size_t made = 0;
    for (const char* const place : {"capture halted", "capture noted", "capture moved", "capture committed"}) {
        SCOPED_TRACE(place);
        killed_at(place, [](Node& node) {
            const Quiet quiet{.halt = [] { return Result<>{}; }, .resume = [] { return Result<>{}; }};
            value_of(node.working.capture("a", {.author = "t", .message = "m", .config = {}}, quiet, store::unwatched));
        });
        if (std::string_view{place} == "capture committed") ++made;
        EXPECT_EQ(snapshots(), made);
        EXPECT_TRUE(node_->recovered.unknown.empty());
        EXPECT_TRUE(node_->unknown.empty());
        EXPECT_TRUE(is_swept());
        EXPECT_EQ(std::distance(fs::directory_iterator{directory_ / "store/frozen"}, {}),
                  static_cast<std::ptrdiff_t>(made));
    }
    EXPECT_EQ(text_in(freeze("a"), "etc/motd"), "changed") << "the branch has kept everything";
}

TEST_F(CaptureTest, APowerCutTakesBackTheDirectory)
{
    in_layer("a", change_all_sorts);
    SnapshotId id;
    with_directories_taken_back([&] { id = value_of(capture()).snapshot.id; });
    EXPECT_TRUE(is_swept());
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "nothing of it is left", node_->sealer.make_durable(id)));
    EXPECT_EQ(text_in(freeze("a"), "etc/motd"), "changed");
}

/// A file system that can share blocks, in an image.
TEST_F(CaptureTest, BlocksAreSharedWhereTheFileSystemCan)
{
    COPPICE_NEEDS(LoopDevices);
    const std::string image = directory_ / "xfs", place = directory_ / "disk";
    directory_.make_directory("disk");
    write_text(image, {});
    fs::resize_file(image, 400U << 20);
    if (coppice::test::run_program({"mkfs.xfs", "-q", image}) != 0) GTEST_SKIP() << "needs mkfs.xfs";
    if (coppice::test::run_program({"mount", "-o", "loop", image, place}) != 0)
        GTEST_SKIP() << "needs XFS in the kernel";
    node_.reset();
    {
        Node node{place + "/store"};
        TestTree t;
        t.directory("etc");
        value_of(node.working.create("a", add_vdisk_of(node, t.tree)));
        write_text(place + "/store/working/a/layer/upper/large", noise(30'000'000, 5));
        write_text(place + "/store/working/a/layer/upper/later", "1");
        const Quiet quiet{.halt = [&]() -> Result<> {
                              write_text(place + "/store/working/a/layer/upper/later", "2");
                              return {};
                          },
                          .resume = [] { return Result<>{}; }};
        ::sync();
        const auto before = fs::space(place).free;
        const auto captured =
            value_of(node.working.capture("a", {.author = "t", .message = {}, .config = {}}, quiet, store::unwatched));
        EXPECT_TRUE(captured.cost->shared);
        EXPECT_LT(before - fs::space(place).free, 10U << 20) << "a copy would take 30 MB";
        EXPECT_EQ(raw_tree(place + "/store/frozen/" + captured.snapshot.id.hex()),
                  raw_tree(place + "/store/working/a/layer/upper"));
    }
    EXPECT_EQ(coppice::test::run_program({"umount", place}), 0);
}

TEST_F(CaptureTest, AFullDiskLeavesNothing)
{
    const std::string place = directory_ / "disk";
    directory_.make_directory("disk");
    if (coppice::test::run_program({"mount", "-t", "tmpfs", "-o", "size=24m", "none", place}) != 0)
        GTEST_SKIP() << "needs a tmpfs";
    node_.reset();
    {
        Node node{place + "/store"};
        TestTree t;
        t.directory("etc");
        value_of(node.working.create("a", add_vdisk_of(node, t.tree)));
        write_text(place + "/store/working/a/layer/upper/large", noise(12'000'000, 5));
        int resumed = 0;
        const Quiet quiet{.halt = [] { return Result<>{}; },
                          .resume = [&]() -> Result<> {
                              ++resumed;
                              return {};
                          }};
        EXPECT_TRUE(
            fails_as(ErrorKind::Unavailable, "large",
                     node.working.capture("a", {.author = "t", .message = {}, .config = {}}, quiet, store::unwatched)));
        EXPECT_EQ(resumed, 1)
            << "a tmpfs does not tell of stores through mappings, so all of it is copied in the pause";
        value_of(node.working.sweep());
        EXPECT_GT(fs::space(place).free, 8U << 20);
        EXPECT_TRUE(fs::is_empty(place + "/store/frozen"));
    }
    EXPECT_EQ(coppice::test::run_program({"umount", place}), 0);
}

} // namespace
} // namespace coppice::vdisk::test
