#include "../../../src/store/connection.h"
#include "coppice/store/blob.h"
#include "coppice/store/fsck.h"
#include "support.h"

#include <fcntl.h>
#include <functional>
#include <unistd.h>

namespace coppice::store {
namespace {

using test::chunk_of;
using test::import;
using test::joined;
using test::read_back;
using test::StoreFixture;
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
        {"chunks swapped in the database", FsckLevel::Full,
         [](Damaged& f) {
             f.sql("UPDATE chunk SET pack = 100 + id WHERE id IN (1, 3); CREATE TEMP TABLE o AS SELECT id, offset FROM "
                   "chunk; "
                   "UPDATE chunk SET offset = (SELECT offset FROM o WHERE o.id = 4 - chunk.id) WHERE id IN (1, 3); "
                   "UPDATE chunk SET pack = 1 WHERE id IN (1, 3)");
         },
         "damaged"},
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
        {"layer row", FsckLevel::Quick,
         [](Damaged& f) { f.sql("UPDATE layer SET root = randomblob(32) WHERE id = 1"); }, "do not fit"},
        {"reference lost", FsckLevel::Full,
         [](Damaged& f) { f.sql("DELETE FROM layer_chunk WHERE layer = 1 AND chunk = 2"); }, "not in the database"},
        {"blob flipped", FsckLevel::Full,
         [](Damaged& f) { f.write("cache/" + f.a.layer->hex() + ".blob", 70000, "?"); }, "blob"},
        {"envelope flipped", FsckLevel::Crypto,
         [](Damaged& f) {
             f.sql("UPDATE snapshot SET envelope = CAST(replace(CAST(envelope AS TEXT), '\"sig\":\"', '\"sig\":\"A') "
                   "AS BLOB)");
         },
         "signed document"},
        {"envelopes swapped", FsckLevel::Crypto,
         [](Damaged& f) { f.sql("UPDATE snapshot SET envelope = (SELECT envelope FROM snapshot WHERE seq = 1)"); },
         "another manifest"},
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

TEST(FsckTest, TheSequenceIsMended)
{
    Damaged f;
    f.sql("UPDATE vdisk SET seq = 0");
    expect_mended(f);
}

} // namespace
} // namespace coppice::store
