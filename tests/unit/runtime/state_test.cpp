#include "coppice/runtime/state.h"

#include "coppice/os/file.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

namespace coppice::runtime {
namespace {

using test::fails_as;
using test::succeeds;
using test::value_of;
using namespace std::string_literals;

StateRecord full_record(const std::string& id)
{
    StateRecord record;
    record.id = id;
    record.bundle = "/bundles/a b";
    record.oci_version = "1.2.0";
    record.pid = 4242;
    record.start_time = 18446744073709551615ULL;
    record.created = "2026-01-31T08:15:00.000000001Z";
    record.root_path = "/bundles/a b/rootfs";
    record.owner = 1000;
    record.cgroup = {.v2 = "/sys/fs/cgroup/c", .v1 = {{"memory", "/sys/fs/cgroup/memory/c"}}};
    record.annotations = {{"key", "value \"quoted\"\n"}};
    record.complete = true;
    record.nonce = "0123456789abcdef";
    return record;
}

class StateTest : public testing::Test {
protected:
    test::TempDir directory_;
    StateRoot root_ = value_of(StateRoot::open(directory_ / "state"));
};

TEST_F(StateTest, RecordSurvivesWritingAndReading)
{
    const StateRecord record = full_record("web");
    const auto made = value_of(root_.make(record, "{\"config\":1}"));
    const auto found = value_of(root_.find("web"));
    const StateRecord read = value_of(found.read_state());
    EXPECT_EQ(read.id, record.id);
    EXPECT_EQ(read.bundle, record.bundle);
    EXPECT_EQ(read.oci_version, record.oci_version);
    EXPECT_EQ(read.pid, record.pid);
    EXPECT_EQ(read.start_time, record.start_time);
    EXPECT_EQ(read.created, record.created);
    EXPECT_EQ(read.root_path, record.root_path);
    EXPECT_EQ(read.owner, record.owner);
    EXPECT_EQ(read.cgroup, record.cgroup);
    EXPECT_EQ(read.annotations, record.annotations);
    EXPECT_EQ(read.complete, record.complete);
    EXPECT_EQ(read.nonce, record.nonce);
    EXPECT_EQ(value_of(found.read_config()), "{\"config\":1}");
}

TEST_F(StateTest, AnIdIsTakenOnce)
{
    const auto first = value_of(root_.make(full_record("web"), "first"));
    StateRecord other = full_record("web");
    other.nonce = "fedcba9876543210";
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "given ID already exists: web", root_.make(other, "second")));
    EXPECT_EQ(value_of(value_of(root_.find("web")).read_config()), "first");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator{directory_ / "state"}, {}), 1)
        << "nothing is left of the second";
    EXPECT_TRUE(succeeds(root_.remove("web")));
    EXPECT_TRUE(succeeds(root_.make(other, "second")));
}

TEST_F(StateTest, TheLockIsHeldFromTheFirstMoment)
{
    auto made = std::optional{value_of(root_.make(full_record("web"), ""))};
    const auto found = value_of(root_.find("web"));
    EXPECT_TRUE(value_of(os::FileLock::is_held(found.fd().get(), kLockFile)));
    made.reset();
    EXPECT_FALSE(value_of(os::FileLock::is_held(found.fd().get(), kLockFile)));
}

TEST_F(StateTest, IdsThatArePathsAreRefused)
{
    directory_.make_directory("outside");
    directory_.make_directory("state/a/b");
    for (const auto& id : {"../outside"s, "../x"s, ""s, "."s, ".."s, "a/b"s, "/"s, directory_ / "outside", "-x"s,
                           ".new-1"s, std::string(1U << 20, 'x')}) {
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "container id", root_.find(id))) << id.substr(0, 60);
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "container id", root_.make(full_record(id), ""))) << id.substr(0, 60);
    }
    EXPECT_TRUE(directory_.exists("outside"));
}

TEST_F(StateTest, ALinkIsNoContainer)
{
    directory_.make_directory("outside");
    std::filesystem::create_directory_symlink(directory_ / "outside", directory_ / "state/web");
    EXPECT_FALSE(root_.find("web").has_value());
}

TEST_F(StateTest, UnknownIdIsNotFound)
{
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "container does not exist: nobody", root_.find("nobody")));
    EXPECT_TRUE(succeeds(root_.remove("nobody")));
}

TEST_F(StateTest, ListIsSortedAndShowsNoUnfinishedOnes)
{
    const auto b = value_of(root_.make(full_record("b"), ""));
    const auto a = value_of(root_.make(full_record("a"), ""));
    directory_.make_directory("state/.new-c.0123");
    EXPECT_EQ(value_of(root_.list()), (std::vector<std::string>{"a", "b"}));
    StateRecord killed = full_record("c");
    killed.nonce = "0123";
    EXPECT_TRUE(succeeds(root_.remove_unfinished(killed)));
    EXPECT_FALSE(directory_.exists("state/.new-c.0123"));
}

TEST_F(StateTest, OnlyWhatKilledOnesLeftOfThisIdIsRemoved)
{
    for (const char* const name : {".new-a.0123", ".new-a.4567", ".new-a.b.0123", ".new-ab.0123", ".new-b.0123"})
        directory_.make_directory(std::string{"state/"} + name);
    const auto busy = value_of(os::FileLock::take(root_.fd().get(), std::string{".new-a.4567/"} + kLockFile));
    ASSERT_TRUE(succeeds(root_.remove_unfinished_of("a")));
    EXPECT_FALSE(directory_.exists("state/.new-a.0123"));
    EXPECT_TRUE(directory_.exists("state/.new-a.4567")) << "somebody is at work on it";
    for (const char* const other : {".new-a.b.0123", ".new-ab.0123", ".new-b.0123"})
        EXPECT_TRUE(directory_.exists(std::string{"state/"} + other)) << "of another container";
}

TEST_F(StateTest, DamagedRecordsAreErrors)
{
    const auto made = value_of(root_.make(full_record("web"), ""));
    for (const char* const text : {"", "{", "[]", "{}", R"({"id": 1, "bundle": "", "ociVersion": "", "startTime": 1})",
                                   R"({"id": "web", "bundle": "", "ociVersion": "", "startTime": -1})",
                                   R"({"id": "web", "bundle": "", "ociVersion": "", "startTime": 1, "pid": -5})"}) {
        directory_.write("state/web/state.json", text);
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", made.directory.read_state())) << text;
    }
}

TEST_F(StateTest, StatusOfAProcessThatIsNotThere)
{
    StateRecord record = full_record("web");
    record.pid = 0x7ffffff0;
    record.start_time = 1;
    auto made = std::optional{value_of(root_.make(record, ""))};
    const auto found = value_of(root_.find("web"));
    EXPECT_EQ(value_of(status_of(found, record)), Status::Stopped);
    record.complete = false;
    EXPECT_EQ(value_of(status_of(found, record)), Status::Creating);
    made.reset(); // its maker has gone
    EXPECT_EQ(value_of(status_of(found, record)), Status::Stopped);
}

TEST_F(StateTest, StatusOfAReusedPid)
{
    StateRecord record = full_record("web");
    record.pid = ::getpid();
    record.start_time = value_of(os::process_start_time(::getpid())).value();
    const auto made = value_of(root_.make(record, ""));
    EXPECT_EQ(value_of(status_of(made.directory, record)), Status::Running);
    ++record.start_time; // as if another process had had this number
    EXPECT_EQ(value_of(status_of(made.directory, record)), Status::Stopped);
}

TEST(StateDocumentTest, AsTheSpecificationHasIt)
{
    const auto running = nlohmann::json::parse(to_state_json(full_record("web"), Status::Running, false));
    EXPECT_EQ(running.at("id"), "web");
    EXPECT_EQ(running.at("status"), "running");
    EXPECT_EQ(running.at("pid"), 4242);
    EXPECT_EQ(running.at("bundle"), "/bundles/a b");
    EXPECT_EQ(running.at("ociVersion"), "1.2.0");
    EXPECT_EQ(running.at("annotations").at("key"), "value \"quoted\"\n");
    const auto stopped = nlohmann::json::parse(to_state_json(full_record("web"), Status::Stopped, true));
    EXPECT_EQ(stopped.at("pid"), 0) << "the number may be another process's by now";
    EXPECT_EQ(stopped.at("status"), "stopped");
}

TEST(StateRootTest, IsMadeForTheOwnerAlone)
{
    const test::TempDir directory;
    EXPECT_TRUE(succeeds(StateRoot::open(directory / "a/b/state")));
    struct stat status{};
    ASSERT_EQ(::stat((directory / "a/b/state").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700U);
}

TEST(StateRootTest, OthersMayNotWriteToIt)
{
    const test::TempDir directory;
    directory.make_directory("state");
    for (const mode_t mode : {0777U, 0722U, 0720U, 0702U, 01777U}) {
        ASSERT_EQ(::chmod((directory / "state").c_str(), mode), 0);
        EXPECT_TRUE(fails_as(ErrorKind::Denied, "can be written by others", StateRoot::open(directory / "state")))
            << std::oct << mode;
    }
    for (const mode_t mode : {0700U, 0755U, 0711U}) {
        ASSERT_EQ(::chmod((directory / "state").c_str(), mode), 0);
        EXPECT_TRUE(succeeds(StateRoot::open(directory / "state"))) << std::oct << mode;
    }
}

TEST(StateRootTest, AForeignOwnersIsRefused)
{
    const test::TempDir directory;
    directory.make_directory("state");
    if (::geteuid() == 0) {
        ASSERT_EQ(::chown((directory / "state").c_str(), 1000, 1000), 0);
    }
    const std::string path = ::geteuid() == 0 ? directory / "state" : "/usr"; // root's, for anybody else
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "belongs to user", StateRoot::open(path)));
}

TEST(StateRootTest, AFileIsNoRoot)
{
    const test::TempDir directory;
    directory.write("file", "");
    EXPECT_FALSE(StateRoot::open(directory / "file"));
    EXPECT_FALSE(StateRoot::open(directory / "file/state"));
}

} // namespace
} // namespace coppice::runtime
