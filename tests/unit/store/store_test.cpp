#include "../../../src/store/connection.h"
#include "../../../src/store/database.h"
#include "../../../src/store/schema.h"
#include "support.h"

#include <atomic>
#include <filesystem>
#include <sys/stat.h>
#include <thread>

namespace coppice::store {
namespace {

using test::fails_as;
using test::import;
using test::make_vdisk;
using test::StoreFixture;
using test::succeeds;
using test::TempDir;
using test::value_of;

TEST(StoreTest, MadeOnceAndOpenedAgain)
{
    StoreFixture f;
    const auto id = f.store->id();
    const auto key = f.store->node_key().public_key();
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "another process", Store::open(f.root)));
    f.reopen();
    EXPECT_EQ(f.store->id(), id);
    EXPECT_EQ(f.store->node_key().public_key(), key);
}

TEST(StoreTest, ALostDatabaseIsNotMadeAnew)
{
    StoreFixture f;
    import(*f.store, make_vdisk(*f.store), {test::chunk_of(1)});
    f.store.reset();
    for (const char* const name : {"store.db", "store.db-wal", "store.db-shm"})
        ::unlink((f.root + "/" + name).c_str());
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "no store.db", Store::open(f.root)));
    EXPECT_TRUE(f.directory.exists("store/packs/1.pack"));
}

TEST(StoreTest, ForeignAndNewerDatabasesAreRefused)
{
    StoreFixture f;
    f.store.reset();
    {
        const auto db = value_of(Connection::open(f.root + "/store.db", Connection::Mode::ReadWrite));
        value_of(db->run("PRAGMA user_version = 99"));
    }
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "schema version 99", Store::open(f.root)));
    {
        const auto db = value_of(Connection::open(f.root + "/store.db", Connection::Mode::ReadWrite));
        value_of(db->run("PRAGMA user_version = 1; PRAGMA application_id = 7"));
    }
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "application_id", Store::open(f.root)));
    f.directory.write("store/store.db", std::string(8192, 'x'));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "store.db", Store::open(f.root)));
}

TEST(StoreTest, TmpIsEmptied)
{
    StoreFixture f;
    f.store.reset();
    f.directory.write("store/tmp/left/file", "x");
    f.store = value_of(Store::open(f.root));
    EXPECT_FALSE(f.directory.exists("store/tmp/left"));
}

TEST(StoreTest, SettingsOfEveryConnection)
{
    StoreFixture f;
    const auto check = [](const View& view) -> Result<> {
        EXPECT_EQ(value_of(view.db().number("PRAGMA synchronous")), 2); // FULL
        EXPECT_EQ(value_of(view.db().number("PRAGMA foreign_keys")), 1);
        auto query = TRY(view.db().query("PRAGMA journal_mode"));
        EXPECT_TRUE(value_of(query.next()) && query.text(0) == "wal");
        return {};
    };
    ASSERT_TRUE(succeeds(f.store->read(check)));
    ASSERT_TRUE(succeeds(f.store->write([&](Txn& txn) { return check(txn); })));
}

TEST(StoreTest, AFailedRequestTakesBackItsOwnChangesOnly)
{
    StoreFixture f;
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "no", f.store->write([](Txn& txn) -> Result<> {
        TRY(add_vdisk(txn, "gone"));
        return fail(ErrorKind::Invalid, "no");
    })));
    make_vdisk(*f.store, "stays");
    const auto all = value_of(f.store->read([](const View& view) { return all_vdisks(view); }));
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0].name, "stays");
}

TEST(StoreTest, ManyThreadsShareTransactions)
{
    TempDir directory;
    {
        const auto db = value_of(Connection::open(directory / "store.db", Connection::Mode::Create));
        value_of(migrate(*db));
    }
    const auto database = value_of(Database::open(directory / "store.db"));
    constexpr int kThreads = 8, kEach = 40;
    std::atomic<int> failed = 0, refused = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < kEach; ++i) {
                const bool bad = i % 10 == 9; // fails after it has changed something
                const auto done = database->write([&](Txn& txn) -> Result<> {
                    TRY(add_vdisk(txn, "v" + std::to_string(t) + "-" + std::to_string(i)));
                    if (bad) return fail(ErrorKind::Invalid, "no");
                    return {};
                });
                if (bad && !done)
                    ++refused;
                else if (!done)
                    ++failed;
                if (i % 7 == 0 && !database->read([](const View& view) -> Result<> {
                        TRY(all_vdisks(view));
                        return {};
                    }))
                    ++failed;
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(failed, 0);
    EXPECT_EQ(refused, kThreads * kEach / 10);
    std::size_t count = 0;
    ASSERT_TRUE(succeeds(database->read([&](const View& view) -> Result<> {
        count = TRY(all_vdisks(view)).size();
        return {};
    })));
    EXPECT_EQ(count, static_cast<std::size_t>(kThreads * kEach * 9 / 10));
    EXPECT_LT(database->commits(), count); // some were joined
}

TEST(StoreTest, NobodyElseReadsTheDatabase)
{
    namespace fs = std::filesystem;
    StoreFixture f;
    f.store.reset();
    fs::permissions(f.root + "/store.db", static_cast<fs::perms>(0644)); // of an older one
    fs::remove_all(f.root + "/cache");                                   // as in a backup
    f.store = value_of(Store::open(f.root));
    value_of(f.store->write([](Txn& txn) { return add_vdisk(txn, "debian"); }));
    for (const char* const name : {"/store.db", "/store.db-wal"})
        EXPECT_EQ(fs::status(f.root + name).permissions(), static_cast<fs::perms>(0600)) << name;
}

TEST(StoreTest, ARequestTakesEffectOnce)
{
    StoreFixture f;
    const auto make = [&](const std::string& key, const std::string& name) {
        return f.store->write_once({.key = key, .fingerprint = "add " + name},
                                   [&](Txn& txn) -> Result<std::string> { return TRY(add_vdisk(txn, name)).id.hex(); });
    };
    const auto first = value_of(make("k1", "debian"));
    EXPECT_EQ(value_of(make("k1", "debian")), first);
    f.reopen();
    EXPECT_EQ(value_of(make("k1", "debian")), first);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "another request", make("k1", "ubuntu")));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "already", make("k2", "debian"))); // failed: nothing remembered
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "1 to 128", make("", "x")));
    value_of(f.store->write(
        [&](Txn& txn) { return rename_vdisk(txn, value_of(get_vdisk(txn, std::string{"debian"})).id, "old"); }));
    EXPECT_NE(value_of(make("k2", "debian")), first);
}

} // namespace
} // namespace coppice::store
