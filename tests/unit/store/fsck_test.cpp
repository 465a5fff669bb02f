#include "../../../src/store/connection.h"
#include "../../../src/store/guards.h"
#include "../../../src/store/stage.h"
#include "at_step.h"
#include "coppice/store/blob.h"
#include "coppice/store/fsck.h"
#include "support.h"

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::store {
namespace {

using test::AtStep;
using test::chunk_of;
using test::import;
using test::joined;
using test::read_back;
using test::StoreFixture;
using test::succeeds;
using test::value_of;

/// A store with a chain of two sealed snapshots and one frozen one.
struct Damaged : StoreFixture {
    VdiskId vdisk = test::make_vdisk(*store);
    std::vector<std::string> chunks{chunk_of(1), chunk_of(-2), chunk_of(3), chunk_of(4)};
    Snapshot a = import(*store, vdisk, chunks);
    Snapshot b = import(*store, vdisk, {chunk_of(1), chunk_of(5)}, a.id, "second");

    void sql(const std::string& script)
    {
        store.reset();
        const auto db = value_of(Connection::open(root + "/store.db", Connection::Mode::ReadWrite));
        value_of(db->run("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;" + script));
        store = nullptr;
    }
    void again()
    {
        if (!store) store = value_of(Store::open(root));
    }
    FsckReport check(FsckLevel level)
    {
        again();
        return value_of(fsck(*store, level));
    }
    void write(const std::string& name, off_t at, const std::string& bytes) const
    {
        const std::string path = root + "/" + name;
        (void)::chmod(path.c_str(), 0600);
        const os::Fd file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
        ASSERT_TRUE(file.is_open()) << path;
        ASSERT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), at), static_cast<ssize_t>(bytes.size()));
    }
    [[nodiscard]] std::string layer_path(const char* name) const { return "layers/" + a.layer->hex() + "/" + name; }
};

std::string text_of(const FsckReport& report)
{
    std::string all;
    for (const Finding& finding : report.findings)
        all += finding.what + (finding.repaired ? " [repaired]" : "") + "\n";
    return all;
}

TEST(FsckTest, ASoundStoreIsClean)
{
    Damaged f;
    for (const auto level : {FsckLevel::Quick, FsckLevel::Full, FsckLevel::Crypto, FsckLevel::Repair}) {
        const auto report = f.check(level);
        EXPECT_EQ(report.exit_status(), 0) << text_of(report);
        EXPECT_EQ(report.snapshots, 2U);
        EXPECT_EQ(report.layers, 2U);
        EXPECT_EQ(report.chunks, 5U);
    }
}

constexpr const char* kSwapPlaces =
    "UPDATE chunk SET pack = 100 + id WHERE id IN (1, 3); CREATE TEMP TABLE o AS SELECT id, offset FROM chunk; "
    "UPDATE chunk SET offset = (SELECT offset FROM o WHERE o.id = 4 - chunk.id) WHERE id IN (1, 3); "
    "UPDATE chunk SET pack = 1 WHERE id IN (1, 3)";

struct Damage {
    const char* name;
    FsckLevel level; ///< that finds it
    std::function<void(Damaged&)> hurt;
    const char* says;
};

TEST(FsckTest, DamageIsFound)
{
    const std::vector<Damage> damages{
        {"flipped byte in a pack", FsckLevel::Full, [](Damaged& f) { f.write("packs/1.pack", 5000, "?"); }, "damaged"},
        {"pack header", FsckLevel::Full, [](Damaged& f) { f.write("packs/1.pack", 17, "?"); }, "header"},
        {"pack cut short", FsckLevel::Quick,
         [](Damaged& f) { ASSERT_EQ(::truncate((f.root + "/packs/1.pack").c_str(), 70000), 0); }, "cut short"},
        {"pack missing", FsckLevel::Quick, [](Damaged& f) { ::unlink((f.root + "/packs/1.pack").c_str()); },
         "is missing"},
        {"foreign pack", FsckLevel::Quick, [](Damaged& f) { f.directory.write("store/packs/77.pack", "x"); },
         "not in the database"},
        {"chunks swapped in the database", FsckLevel::Full, [](Damaged& f) { f.sql(kSwapPlaces); }, "damaged"},
        {"chunk hash in the database", FsckLevel::Full,
         [](Damaged& f) { f.sql("UPDATE chunk SET plain = randomblob(32) WHERE id = 1"); }, "chunks"},
        {"chunk behind the end", FsckLevel::Quick,
         [](Damaged& f) { f.sql("UPDATE chunk SET offset = 200000000 WHERE id = 1"); }, "behind"},
        {"chunk row gone", FsckLevel::Quick, [](Damaged& f) { f.sql("DELETE FROM chunk WHERE id = 1"); },
         "does not exist"},
        {"table flipped", FsckLevel::Full, [](Damaged& f) { f.write(f.layer_path("chunks"), 100, "?"); }, "digest"},
        {"table of another layer", FsckLevel::Full,
         [](Damaged& f) {
             f.directory.write("store/" + f.layer_path("chunks"),
                               f.directory.read("store/layers/" + f.b.layer->hex() + "/chunks"));
         },
         "another layer"},
        {"table missing", FsckLevel::Quick,
         [](Damaged& f) { ::unlink((f.root + "/" + f.layer_path("chunks")).c_str()); }, "missing"},
        {"metadata flipped", FsckLevel::Full, [](Damaged& f) { f.write(f.layer_path("metadata"), 2, "?"); },
         "metadata is damaged"},
        {"metadata longer", FsckLevel::Quick, [](Damaged& f) { f.write(f.layer_path("metadata"), 8, "?"); },
         "another size"},
        {"frozen directory missing", FsckLevel::Quick,
         [](Damaged& f) {
             f.sql("INSERT INTO snapshot(id, vdisk, state, seq, epoch, depth, created, bytes, author, message) "
                   "SELECT randomblob(16), id, 2, 99, 0, 1, 0, 0, 'a', '' FROM vdisk; UPDATE vdisk SET seq = 99");
         },
         "is missing"},
        {"frozen directory gone in a power cut", FsckLevel::Quick,
         [](Damaged& f) {
             f.sql("INSERT INTO snapshot(id, vdisk, state, seq, epoch, depth, created, bytes, author, message) "
                   "SELECT randomblob(16), id, 1, 99, 0, 1, 0, 0, 'a', '' FROM vdisk; UPDATE vdisk SET seq = 99");
         },
         "was not durable"},
        {"foreign frozen directory", FsckLevel::Quick,
         [](Damaged& f) { f.directory.write("store/frozen/0123456789abcdef0123456789abcdef/f", "x"); },
         "belongs to no snapshot"},
        {"working layer missing", FsckLevel::Quick,
         [](Damaged& f) {
             f.sql("INSERT INTO working(name, snapshot, created) SELECT 'w', id, 0 FROM snapshot LIMIT 1");
         },
         "working/w is missing"},
        {"foreign working layer", FsckLevel::Quick,
         [](Damaged& f) { f.directory.write("store/working/lost/layer/upper/f", "x"); }, "belongs to no working layer"},
        {"record of a mount without its lease", FsckLevel::Quick,
         [](Damaged& f) { f.directory.write("store/mounts/mount-1.json", "{}"); }, "mounts/mount-1.json"},
        {"layer row", FsckLevel::Quick,
         [](Damaged& f) { f.sql("UPDATE layer SET root = randomblob(32) WHERE id = 1"); }, "do not fit"},
        {"reference lost", FsckLevel::Full,
         [](Damaged& f) { f.sql("DELETE FROM layer_chunk WHERE layer = 1 AND chunk = 2"); }, "not in the database"},
        {"blob flipped", FsckLevel::Full,
         [](Damaged& f) { f.write("cache/" + f.a.layer->hex() + ".blob", 70000, "?"); }, "blob"},
        {"envelope flipped", FsckLevel::Crypto,
         [](Damaged& f) {
             f.sql("UPDATE document SET envelope = CAST(replace(CAST(envelope AS TEXT), '\"sig\":\"', '\"sig\":\"A') "
                   "AS BLOB)");
         },
         "signed document"},
        {"envelopes swapped", FsckLevel::Crypto,
         [](Damaged& f) {
             f.sql("UPDATE document SET envelope = (SELECT envelope FROM document d JOIN snapshot s ON s.id = "
                   "d.snapshot WHERE s.seq = 1)");
         },
         "another manifest"},
        {"depth", FsckLevel::Quick, [](Damaged& f) { f.sql("UPDATE snapshot SET depth = depth + 1 WHERE seq = 2"); },
         "its depth"},
        {"envelope gone", FsckLevel::Quick, [](Damaged& f) { f.sql("UPDATE document SET envelope = NULL"); },
         "without a signed manifest"},
        {"document gone", FsckLevel::Quick, [](Damaged& f) { f.sql("DELETE FROM document"); },
         "without a signed manifest"},
        {"message changed", FsckLevel::Crypto,
         [](Damaged& f) { f.sql("UPDATE snapshot SET message = 'forged' WHERE seq = 1"); }, "something else"},
        {"author changed", FsckLevel::Crypto,
         [](Damaged& f) { f.sql("UPDATE snapshot SET author = 'forged' WHERE seq = 2"); }, "something else"},
        {"parent cut off", FsckLevel::Crypto,
         [](Damaged& f) { f.sql("UPDATE snapshot SET parent = NULL WHERE seq = 2"); }, "something else"},
        {"layers swapped", FsckLevel::Crypto, [](Damaged& f) { f.sql("UPDATE snapshot SET layer = 3 - layer"); },
         "something else"},
        {"circle", FsckLevel::Quick,
         [](Damaged& f) {
             f.sql("UPDATE snapshot SET parent = (SELECT id FROM snapshot WHERE seq = 2) WHERE seq = 1");
         },
         "its own ancestor"},
        {"snapshot gone", FsckLevel::Quick, [](Damaged& f) { f.sql("DELETE FROM snapshot WHERE seq = 1"); },
         "does not exist"},
        {"sequence", FsckLevel::Quick, [](Damaged& f) { f.sql("UPDATE vdisk SET seq = 1"); }, "behind its snapshots"},
    };
    for (const Damage& damage : damages) {
        SCOPED_TRACE(damage.name);
        Damaged f;
        damage.hurt(f);
        const auto report = f.check(damage.level);
        EXPECT_EQ(report.exit_status(), 4) << text_of(report);
        EXPECT_NE(text_of(report).find(damage.says), std::string::npos) << text_of(report);
    }
}

TEST(FsckTest, ReadersNeverReturnWrongBytes)
{
    Damaged f;
    f.write("packs/1.pack", 5000, "?");
    EXPECT_TRUE(test::fails_as(ErrorKind::Corrupt, "damaged", read_back(*f.store, f.a)));
    value_of(evict_blob(*f.store, *f.a.layer));
    EXPECT_TRUE(test::fails_as(ErrorKind::Corrupt, "damaged", open_blob(*f.store, test::layer_of(*f.store, f.a))));
    const auto report = f.check(FsckLevel::Full);
    ASSERT_EQ(report.findings.size(), 1U) << text_of(report);
    EXPECT_NE(report.findings[0].lost_for.find(f.a.id.hex()), std::string::npos);
    // It cannot be mended, and nothing is dropped for it.
    EXPECT_EQ(f.check(FsckLevel::Repair).exit_status(), 4);
    EXPECT_EQ(f.check(FsckLevel::Quick).snapshots, 2U);
}

void expect_mended(Damaged& f)
{
    const auto report = f.check(FsckLevel::Repair);
    EXPECT_EQ(report.exit_status(), 1) << text_of(report);
    const auto after = f.check(FsckLevel::Full);
    EXPECT_EQ(after.exit_status(), 0) << text_of(after);
    EXPECT_EQ(value_of(read_back(*f.store, f.a)), joined(f.chunks));
}

/// The database is where many bytes matter, and many do not.
int flips_of(const std::filesystem::path& file) { return file == "store.db" ? 24 : 3; }

/// Whatever byte of whatever file changes: it is told, or what is read is right all the same.
TEST(FsckTest, AnyFlippedByteIsFoundOrDoesNoHarm)
{
    namespace fs = std::filesystem;
    Damaged f;
    f.store.reset();
    ASSERT_FALSE(f.directory.exists("store/store.db-wal")); // there a flip takes back what came after it, silently
    std::random_device device;
    const auto seed = device();
    std::printf("seed %u\n", seed);
    std::mt19937_64 random{seed};
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator{f.root})
        if (entry.is_regular_file() && entry.file_size() > 0) files.push_back(fs::relative(entry.path(), f.root));
    ASSERT_GE(files.size(), 9U); // database, keys, packs, metadata, tables, blobs
    std::size_t found = 0, harmless = 0;
    for (const fs::path& file : files)
        for (int i = 0; i < flips_of(file); ++i) {
            const std::string root = f.directory / "flipped";
            fs::remove_all(root);
            fs::copy(f.root, root, fs::copy_options::recursive);
            const auto path = root / file;
            const auto at = random() % fs::file_size(path);
            SCOPED_TRACE(file.string() + ", byte " + std::to_string(at));
            fs::permissions(path, fs::perms::owner_write, fs::perm_options::add);
            {
                std::fstream bytes{path, std::ios::in | std::ios::out | std::ios::binary};
                bytes.seekg(static_cast<std::streamoff>(at));
                const auto old = static_cast<unsigned char>(bytes.get());
                bytes.seekp(static_cast<std::streamoff>(at));
                bytes.put(static_cast<char>(old ^ (1U << random() % 8)));
            }
            const auto store = Store::open(root);
            const auto report = store ? fsck(**store, FsckLevel::Full) : Result<FsckReport>{fail(store.error())};
            if (!report || report->exit_status() != 0) {
                ++found;
                continue;
            }
            ++harmless;
            const auto read = [&](const SnapshotId& id) -> Result<std::string> {
                return read_back(**store,
                                 TRY((*store)->read([&](const View& view) { return get_snapshot(view, id); })));
            };
            const auto a = read(f.a.id), b = read(f.b.id);
            EXPECT_TRUE(succeeds(a) && *a == joined(f.chunks));
            EXPECT_TRUE(succeeds(b) && *b == joined({chunk_of(1), chunk_of(5)}));
        }
    std::printf("%zu flips found, %zu harmless\n", found, harmless);
    EXPECT_GT(found, harmless);
}

TEST(FsckTest, TheIndexIsMadeAgainFromThePacks)
{
    Damaged f;
    f.sql("DELETE FROM chunk");
    expect_mended(f);
}

TEST(FsckTest, PacksWithoutRowsAreIndexed)
{
    Damaged f;
    f.sql("DELETE FROM chunk; DELETE FROM pack");
    expect_mended(f);
}

TEST(FsckTest, WrongPlacesAreFoundAgain)
{
    Damaged f;
    f.sql("UPDATE chunk SET offset = offset + 1 WHERE id % 2 = 0");
    expect_mended(f);
}

TEST(FsckTest, SwappedPlacesAreFoundAgain)
{
    Damaged f;
    f.sql(kSwapPlaces);
    expect_mended(f);
}

TEST(FsckTest, APlaceThatAnotherOneClaimsIsFoundAgain)
{
    Damaged f; // the fourth is where nothing is, the third where the fourth was
    f.sql("UPDATE chunk SET offset = 4096, pack = 1 WHERE id = 4; UPDATE chunk SET offset = (SELECT offset + "
          "stored_bytes "
          "+ 96 FROM chunk WHERE id = 3) WHERE id = 3");
    expect_mended(f);
}

/// What cannot be mended keeps nobody from telling what else is wrong.
TEST(FsckTest, AFailedSearchIsToldWithAllTheRest)
{
    Damaged f;
    f.sql("CREATE TRIGGER never BEFORE UPDATE ON chunk BEGIN SELECT RAISE(ABORT, 'no'); END; "
          "UPDATE vdisk SET seq = 0");
    f.sql("DROP TRIGGER never; UPDATE chunk SET offset = offset + 1 WHERE id = 2; "
          "CREATE TRIGGER never BEFORE UPDATE ON chunk BEGIN SELECT RAISE(ABORT, 'no'); END");
    const auto report = f.check(FsckLevel::Repair);
    EXPECT_NE(text_of(report).find("search in packs"), std::string::npos) << text_of(report);
    EXPECT_NE(text_of(report).find("behind its snapshots [repaired]"), std::string::npos) << text_of(report);
}

TEST(FsckTest, AnImportBesideItIsNoDamage)
{
    Damaged f;
    const AtStep at{"packs read", [&] { import(*f.store, f.vdisk, {chunk_of(-50), chunk_of(-51)}, {}, "beside"); }};
    const auto report = f.check(FsckLevel::Quick);
    EXPECT_EQ(report.exit_status(), 0) << text_of(report);
}

constexpr std::chrono::milliseconds kLong{500}; // more than what waits would need if it did not wait

class FsckBesideCollectTest : public testing::TestWithParam<const char*> {};

/// What nobody needs any more is there until the check is done.
TEST_P(FsckBesideCollectTest, NothingGoes)
{
    Damaged f;
    value_of(f.store->write([&](Txn& txn) -> Result<> {
        TRY(remove_snapshot(txn, f.b.id));
        return remove_snapshot(txn, f.a.id);
    }));
    f.reopen(); // its pack is not written any more
    std::future<Result<Collected>> collected;
    const AtStep at{GetParam(), [&] {
                        collected =
                            std::async(std::launch::async, [&] { return collect(*f.store, {.grace_seconds = 0}); });
                        EXPECT_EQ(collected.wait_for(kLong), std::future_status::timeout);
                    }};
    const auto report = f.check(FsckLevel::Full);
    EXPECT_EQ(report.exit_status(), 0) << text_of(report);
    ASSERT_TRUE(collected.valid());
    EXPECT_EQ(value_of(collected.get()).removed_packs, 2U);
    EXPECT_EQ(f.check(FsckLevel::Full).exit_status(), 0);
}
INSTANTIATE_TEST_SUITE_P(At, FsckBesideCollectTest,
                         testing::Values("packs read", "layers read", "chunks of a pack read"), [](const auto& one) {
                             std::string name = one.param;
                             std::erase(name, ' ');
                             return name;
                         });

/// It waits for a collection, and need not.
TEST(FsckTest, WhoWaitsForACollectionCanBeStopped)
{
    Damaged f;
    std::future<Result<FsckReport>> report;
    std::atomic<bool> stop = false;
    const AtStep at{"chunks found", [&] {
                        report = std::async(std::launch::async, [&] {
                            return fsck(*f.store, FsckLevel::Repair, [&](std::uint64_t) -> Result<> {
                                if (stop) return fail(ErrorKind::Unavailable, "stopped");
                                return {};
                            });
                        });
                        EXPECT_EQ(report.wait_for(kLong), std::future_status::timeout);
                        stop = true;
                        EXPECT_TRUE(test::fails_as(ErrorKind::Unavailable, "stopped", report.get()));
                    }};
    value_of(collect(*f.store));
}

/// As vdisk::WorkingLayers does it: the directory, then the row.
SnapshotId freeze(Damaged& f, SnapshotState state)
{
    const auto id = security::make_random<SnapshotId>();
    std::filesystem::create_directory(f.root + "/frozen/" + id.hex());
    value_of(f.store->write([&](Txn& txn) {
        return add_snapshot(txn, {.id = id, .vdisk = f.vdisk, .parent = f.b.id, .state = state, .author = "tester"});
    }));
    return id;
}

void branch(Damaged& f, const std::string& name)
{
    value_of(f.store->write([&](Txn& txn) { return add_working(txn, name, f.b.id); }));
    std::filesystem::create_directory(f.root + "/working/" + name);
}

struct Beside {
    const char* name;
    const char* step;
    std::function<void(Damaged&)> before, at; ///< of the step
};

/// Others freeze, branch, mount and remove while directories are compared with rows.
TEST(FsckTest, WhatOthersDoMeanwhileIsNoDamage)
{
    SnapshotId id;
    const auto nothing = [](Damaged&) {};
    const std::vector<Beside> all{
        {"a freeze", "directories read", nothing, [](Damaged& f) { freeze(f, SnapshotState::Frozen); }},
        {"a freeze and a sync", "directories read", nothing, [](Damaged& f) { freeze(f, SnapshotState::Durable); }},
        {"a branch", "directories read", nothing, [](Damaged& f) { branch(f, "w"); }},
        {"a branch half made", "directories doubted",
         [](Damaged& f) { value_of(f.store->write([&](Txn& txn) { return add_working(txn, "w", f.b.id); })); },
         [](Damaged& f) { std::filesystem::create_directory(f.root + "/working/w"); }},
        {"a snapshot removed", "directories read", [&](Damaged& f) { id = freeze(f, SnapshotState::Durable); },
         [&](Damaged& f) {
             value_of(f.store->write([&](Txn& txn) { return remove_snapshot(txn, id); }));
             std::filesystem::remove(f.root + "/frozen/" + id.hex());
         }},
        {"a snapshot removed, its row first", "directories doubted",
         [](Damaged& f) {
             value_of(f.store->write([&](Txn& txn) {
                 return add_snapshot(txn, {.id = security::make_random<SnapshotId>(),
                                           .vdisk = f.vdisk,
                                           .parent = f.b.id,
                                           .state = SnapshotState::Frozen,
                                           .author = "tester"});
             }));
         },
         [](Damaged& f) {
             value_of(f.store->write([](Txn& txn) -> Result<> {
                 for (const Snapshot& one : TRY(unsealed(txn)))
                     TRY(remove_snapshot(txn, one.id));
                 return {};
             }));
         }},
        {"a branch removed", "directories read", [](Damaged& f) { branch(f, "w"); },
         [](Damaged& f) {
             value_of(f.store->write([](Txn& txn) { return remove_working(txn, "w"); }));
             std::filesystem::remove(f.root + "/working/w");
         }},
        {"a mount forgotten", "directories doubted", [](Damaged& f) { f.directory.write("store/mounts/m.json", "{}"); },
         [](Damaged& f) { std::filesystem::remove(f.root + "/mounts/m.json"); }},
    };
    for (const Beside& one : all) {
        SCOPED_TRACE(one.name);
        Damaged f;
        one.before(f);
        const AtStep at{one.step, [&] { one.at(f); }};
        const auto report = f.check(FsckLevel::Quick);
        EXPECT_EQ(report.exit_status(), 0) << text_of(report);
    }
}

TEST(FsckTest, WhatNoRowNamesIsToldWhenItIsOld)
{
    Damaged f;
    const std::string lost = "store/layers/" + std::string(64, 'a');
    f.directory.write(lost + "/metadata", "x");
    EXPECT_EQ(f.check(FsckLevel::Quick).exit_status(), 0); // somebody may be writing it
    const auto& path = f.root + lost.substr(5);
    const auto run = [&](Time limit) {
        const std::lock_guard lock{f.store->layer_guard().mutex};
        return value_of(forgotten_files(*f.store, limit));
    };
    EXPECT_TRUE(run(after(now(), -3600)).empty());
    EXPECT_EQ(run(after(now(), 3600)), std::vector<std::string>{"layers/" + std::string(64, 'a')});
    EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(FsckTest, ReferencesComeFromTheTable)
{
    Damaged f;
    f.sql("DELETE FROM layer_chunk WHERE layer = 1");
    expect_mended(f);
}

TEST(FsckTest, ABadBlobIsMended)
{
    Damaged f;
    f.write("cache/" + f.a.layer->hex() + ".blob", 70000, "?");
    expect_mended(f);
}

TEST(FsckTest, DepthsAreMended)
{
    Damaged f;
    const auto c = import(*f.store, f.vdisk, {chunk_of(6)}, f.b.id, "third");
    f.sql("UPDATE snapshot SET depth = 7 WHERE seq = 2");
    EXPECT_EQ(f.check(FsckLevel::Quick).exit_status(), 4);
    // Who climbs the line takes no notice.
    const auto line = value_of(f.store->read([&](const View& view) { return ancestors(view, c.id); }));
    EXPECT_EQ(line.size(), 3U);
    expect_mended(f);
    EXPECT_EQ(value_of(f.store->read([&](const View& view) { return get_snapshot(view, f.b.id); })).depth, 2U);
}

TEST(FsckTest, TheSequenceIsMended)
{
    Damaged f;
    f.sql("UPDATE vdisk SET seq = 0");
    expect_mended(f);
}

} // namespace
} // namespace coppice::store
