#include "coppice/instance/store.h"

#include "coppice/instance/id_range.h"
#include "coppice/os/file.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <filesystem>
#include <set>
#include <sys/stat.h>

namespace coppice::instance {
namespace {

using test::fails_as;
using test::succeeds;
using test::value_of;
using namespace std::string_literals;

InstanceConfig config(const std::string& name)
{
    InstanceConfig made;
    made.name = name;
    made.root = "/";
    made.command = {"true"};
    return made;
}

class StoreTest : public testing::Test {
protected:
    test::TempDir directory_;
    InstanceStore store_ = value_of(InstanceStore::open(directory_ / "store"));
};

TEST_F(StoreTest, DirectoriesAreTheOwnersAlone)
{
    struct stat status{};
    ASSERT_EQ(::stat((directory_ / "store/instances").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0700U);
}

TEST_F(StoreTest, AMadeInstanceIsRunningUntilItIsLetGo)
{
    auto held = std::optional{value_of(store_.make(config("web")))};
    EXPECT_TRUE(value_of(store_.is_running("web")));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "instance web is running", store_.hold("web")));
    held.reset();
    EXPECT_FALSE(value_of(store_.is_running("web")));
    EXPECT_TRUE(succeeds(store_.hold("web")));
    EXPECT_EQ(value_of(store_.read_config("web")), config("web"));
}

TEST_F(StoreTest, ANameIsTakenOnce)
{
    auto first = std::optional{value_of(store_.make(config("web")))};
    InstanceConfig other = config("web");
    other.root = "/other";
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "web exists already", store_.make(other)));
    first.reset();
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "coppice rm web", store_.make(other)));
    EXPECT_EQ(value_of(store_.read_config("web")).root, "/");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator{directory_ / "store/instances"}, {}), 1);
}

TEST_F(StoreTest, ListIsSortedAndShowsInstancesOnly)
{
    const auto b = value_of(store_.make(config("b")));
    const auto a = value_of(store_.make(config("a")));
    directory_.make_directory("store/instances/.unfinished-0123");
    EXPECT_EQ(value_of(store_.list()), (std::vector<std::string>{"a", "b"}));
}

TEST_F(StoreTest, NamesThatArePaths)
{
    directory_.make_directory("store/outside");
    for (const auto& name :
         {"../outside"s, ""s, "."s, ".."s, "a/b"s, "-x"s, ".unfinished-1"s, std::string(1U << 20, 'x')}) {
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", store_.find_directory(name))) << name.substr(0, 60);
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", store_.make(config(name)))) << name.substr(0, 60);
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", store_.hold(name))) << name.substr(0, 60);
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", store_.read_config(name))) << name.substr(0, 60);
    }
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "does not exist", store_.hold("nobody")));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "does not exist", store_.is_running("nobody")));
}

TEST_F(StoreTest, ADamagedConfigIsAnErrorThatNamesIt)
{
    {
        const auto held = value_of(store_.make(config("web")));
    }
    directory_.write("store/instances/web/instance.json", "{\"name\": \"web\"");
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "instance web: instance.json", store_.read_config("web")));
}

TEST_F(StoreTest, RemoveTakesAllOfIt)
{
    {
        const auto held = value_of(store_.make(config("web")));
        directory_.write("store/instances/web/layer/upper/deep/file", "x");
        ASSERT_TRUE(succeeds(store_.remove(held, "web")));
    }
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator{directory_ / "store/instances"}, {}), 0);
    EXPECT_TRUE(succeeds(store_.make(config("web")))) << "the name is free again";
}

TEST_F(StoreTest, CleanUpKeepsWhatIsPrivateAndUndoesWhatIsShared)
{
    const auto run = [&](Mode mode, bool remove, const char* started = "2026-01-31T08:15:00Z") {
        InstanceConfig made = config("web");
        made.mode = mode;
        made.remove_at_end = remove;
        made.started = started;
        const auto held = value_of(store_.make(made));
        directory_.write("store/instances/web/layer/upper/file", "x");
        EXPECT_TRUE(succeeds(store_.clean_up(held, made)));
        const bool layer = directory_.exists("store/instances/web/layer/upper/file");
        const bool instance = directory_.exists("store/instances/web");
        std::filesystem::remove_all(directory_ / "store/instances/web");
        return std::pair{instance, layer};
    };
    EXPECT_EQ(run(Mode::Private, false), (std::pair{true, true}));
    EXPECT_EQ(run(Mode::Shared, false), (std::pair{true, false}));
    EXPECT_EQ(run(Mode::Private, true), (std::pair{false, false}));
    EXPECT_EQ(run(Mode::Private, false, ""), (std::pair{false, false})) << "what never ran was never there";
}

TEST_F(StoreTest, CleanUpSweepsWhatKilledOnesLeft)
{
    InstanceConfig made = config("web");
    made.started = "2026-01-31T08:15:00Z";
    const auto held = value_of(store_.make(made));
    for (const char* const file : {"instance.json", "identity.json"})
        directory_.write(std::string{"store/instances/web/"} + file + ".new-0123", "half");
    directory_.write("store/instances/web/.discarded-0123/upper/file", "x");
    ASSERT_TRUE(succeeds(store_.clean_up(held, made)));
    EXPECT_FALSE(directory_.exists("store/instances/web/instance.json.new-0123"));
    EXPECT_FALSE(directory_.exists("store/instances/web/identity.json.new-0123"));
    EXPECT_FALSE(directory_.exists("store/instances/web/.discarded-0123"));
    EXPECT_EQ(value_of(store_.read_config("web")), made);
}

TEST(IdRangeTest, NoTwoHoldersShareARange)
{
    const test::TempDir directory;
    std::vector<IdRange> taken;
    std::set<std::uint32_t> firsts;
    for (int i = 0; i < 50; ++i) {
        taken.push_back(value_of(IdRange::take(directory / "ids")));
        const std::uint32_t first = taken.back().first();
        EXPECT_TRUE(firsts.insert(first).second) << first;
        EXPECT_GE(first, IdRange::kFirst);
        EXPECT_LE(first, IdRange::kLast - IdRange::kSize);
        EXPECT_EQ(first % IdRange::kSize, 0U) << "ranges do not overlap";
    }
    EXPECT_EQ(taken.front().mapping().uids, (os::IdMap{{0, taken.front().first(), IdRange::kSize}}));
    EXPECT_EQ(taken.front().mapping().gids, taken.front().mapping().uids);
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator{directory.path()}, {}), 1) << "one file for all ranges";
}

} // namespace
} // namespace coppice::instance
