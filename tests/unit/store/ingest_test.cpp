#include "../../../src/store/connection.h"
#include "coppice/store/blob.h"
#include "support.h"

#include <filesystem>
#include <sys/stat.h>

#include <fcntl.h>
#include <thread>
#include <unistd.h>

namespace coppice::store {
namespace {

using test::chunk_of;
using test::fails_as;
using test::import;
using test::joined;
using test::make_vdisk;
using test::read_back;
using test::StoreFixture;
using test::succeeds;
using test::value_of;

std::string content_of(const os::Fd& file)
{
    const auto size = ::lseek(file.get(), 0, SEEK_END);
    std::string content(static_cast<std::size_t>(size), '\0');
    EXPECT_EQ(::pread(file.get(), content.data(), content.size(), 0), size);
    return content;
}

std::int64_t count(const Store& store, const char* sql)
{
    return value_of(store.read([&](const View& view) { return view.db().number(sql); }));
}

std::vector<std::string> some_chunks(int from, int to)
{
    std::vector<std::string> chunks;
    for (int i = from; i < to; ++i)
        chunks.push_back(chunk_of(i % 5 == 4 ? -i : i, 4096U * static_cast<unsigned>(1 + i * 7 % 64)));
    return chunks;
}

TEST(IngestTest, WhatWasPutComesBack)
{
    StoreFixture f;
    auto chunks = some_chunks(0, 200);
    chunks.push_back(chunks[3]); // twice in one blob
    chunks.insert(chunks.begin(), chunks[7]);
    const auto snapshot = import(*f.store, make_vdisk(*f.store), chunks);
    EXPECT_EQ(value_of(read_back(*f.store, snapshot)), joined(chunks));
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM chunk"), 200);
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM pin"), 0);
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM session"), 0);
    const auto layer = test::layer_of(*f.store, snapshot);
    EXPECT_EQ(layer.chunks, 202U);
    EXPECT_EQ(content_of(value_of(open_metadata(*f.store, layer))), "metadata");
    EXPECT_EQ(content_of(value_of(open_blob(*f.store, layer))), joined(chunks));
    f.reopen();
    EXPECT_EQ(value_of(read_back(*f.store, snapshot)), joined(chunks));
}

TEST(IngestTest, KnownChunksAreNotStoredAgain)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    const auto chunks = some_chunks(0, 50);
    const auto first = import(*f.store, vdisk, chunks);
    auto changed = chunks;
    changed[10] = chunk_of(1000);
    auto ingest = value_of(Ingest::begin(*f.store, {.key = "second"}));
    for (const auto& chunk : changed)
        ASSERT_TRUE(succeeds(ingest->put(chunk)));
    value_of(ingest->put_metadata("metadata"));
    const auto staged = value_of(ingest->finish());
    EXPECT_EQ(ingest->progress().chunks, 50U);
    EXPECT_EQ(ingest->progress().new_chunks, 1U);
    const auto again = import(*f.store, vdisk, chunks, first.id);
    EXPECT_EQ(again.layer, first.layer); // the same content is the same layer
    EXPECT_NE(again.manifest, first.manifest);
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM layer"), 1);
}

TEST(IngestTest, RefusesWhatIsNoChunk)
{
    StoreFixture f;
    const auto ingest = value_of(Ingest::begin(*f.store, {.key = "k"}));
    for (const std::size_t size : {0UL, 1UL, 4095UL, 4097UL, kChunkMaxBytes + 4096})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "multiple of 4096", ingest->put(std::string(size, 'x'))));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "is running", Ingest::begin(*f.store, {.key = "k"})));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "1 to 128", Ingest::begin(*f.store, {.key = ""})));
}

TEST(IngestTest, EmptyBlob)
{
    StoreFixture f;
    const auto snapshot = import(*f.store, make_vdisk(*f.store), {});
    EXPECT_EQ(value_of(read_back(*f.store, snapshot)), "");
    EXPECT_EQ(content_of(value_of(open_blob(*f.store, test::layer_of(*f.store, snapshot)))), "");
}

TEST(IngestTest, AStoppedOneIsResumed)
{
    StoreFixture f;
    const auto chunks = some_chunks(0, 300); // more than a batch
    {
        const auto ingest = value_of(Ingest::begin(*f.store, {.key = "import-1"}));
        for (const auto& chunk : chunks)
            ASSERT_TRUE(succeeds(ingest->put(chunk)));
        // Wait for a batch: what is committed is what can be resumed.
        for (int i = 0; i < 500 && ingest->progress().new_chunks == 0; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds{10});
    }
    const auto kept = count(*f.store, "SELECT count(*) FROM chunk");
    ASSERT_GT(kept, 0);
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM pin"), kept);
    f.reopen();
    ASSERT_TRUE(succeeds(collect(*f.store, {.grace_seconds = 0}))); // pins hold them
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM chunk"), kept);
    const auto ingest = value_of(Ingest::begin(*f.store, {.key = "import-1"}));
    for (const auto& chunk : chunks)
        ASSERT_TRUE(succeeds(ingest->put(chunk)));
    value_of(ingest->put_metadata("metadata"));
    const auto staged = value_of(ingest->finish());
    EXPECT_EQ(ingest->progress().new_chunks, 300U - static_cast<std::uint64_t>(kept));
}

TEST(IngestTest, SeveralAtOnceWithTheSameChunks)
{
    StoreFixture f;
    const auto vdisk = make_vdisk(*f.store);
    constexpr int kThreads = 4;
    std::vector<std::thread> threads;
    std::vector<std::optional<Snapshot>> snapshots(kThreads);
    for (int t = 0; t < kThreads; ++t)
        threads.emplace_back([&, t] {
            snapshots[static_cast<std::size_t>(t)] =
                import(*f.store, vdisk, some_chunks(t * 10, t * 10 + 100), {}, "m" + std::to_string(t));
        });
    for (std::thread& thread : threads)
        thread.join();
    for (int t = 0; t < kThreads; ++t)
        EXPECT_EQ(value_of(read_back(*f.store, *snapshots[static_cast<std::size_t>(t)])),
                  joined(some_chunks(t * 10, t * 10 + 100)));
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM chunk"), 130);
    EXPECT_EQ(count(*f.store, "SELECT count(*) FROM pin"), 0);
}

TEST(BlobTest, MadeAgainFromThePacks)
{
    StoreFixture f;
    const auto chunks = some_chunks(0, 40);
    const auto layer = test::layer_of(*f.store, import(*f.store, make_vdisk(*f.store), chunks));
    const std::string path = "store/cache/" + layer.digest.hex() + ".blob";
    ASSERT_TRUE(f.directory.exists(path));
    EXPECT_EQ(count(*f.store, "SELECT synced FROM blob"), 0);
    ASSERT_TRUE(succeeds(settle_blobs(*f.store)));
    EXPECT_EQ(count(*f.store, "SELECT synced FROM blob"), 1);
    ASSERT_TRUE(succeeds(evict_blob(*f.store, layer.digest)));
    EXPECT_FALSE(f.directory.exists(path));
    EXPECT_EQ(content_of(value_of(open_blob(*f.store, layer))), joined(chunks));
    EXPECT_EQ(count(*f.store, "SELECT synced FROM blob"), 1);
}

TEST(BlobTest, OneOfAnotherBootIsMadeAgain)
{
    StoreFixture f;
    const auto chunks = some_chunks(0, 10);
    const auto layer = test::layer_of(*f.store, import(*f.store, make_vdisk(*f.store), chunks));
    // After a power cut: the row is there, not all of the data
    value_of(f.store->write([](Txn& txn) -> Result<> {
        TRY(txn.db().execute("UPDATE blob SET boot = 'another'"));
        return {};
    }));
    f.directory.write("store/cache/" + layer.digest.hex() + ".blob", std::string(layer.blob_bytes, '\0'));
    EXPECT_EQ(content_of(value_of(open_blob(*f.store, layer))), joined(chunks));
}

TEST(BlobTest, AStagedOneDoesNotReplaceOneThatIsSynced)
{
    StoreFixture f;
    const auto chunks = some_chunks(0, 10);
    const auto layer = test::layer_of(*f.store, import(*f.store, make_vdisk(*f.store), chunks));
    ASSERT_TRUE(succeeds(settle_blobs(*f.store)));
    struct stat before{}, after{};
    const std::string path = f.root + "/cache/" + layer.digest.hex() + ".blob";
    ASSERT_EQ(::stat(path.c_str(), &before), 0);
    {
        const auto staged = test::stage(*f.store, chunks, "again"); // the same layer; power is cut here
        EXPECT_EQ(staged.layer().digest, layer.digest);
        ASSERT_EQ(::stat(path.c_str(), &after), 0);
        EXPECT_EQ(before.st_ino, after.st_ino);
    }
    const auto other = import(*f.store, make_vdisk(*f.store, "other"), chunks);
    EXPECT_EQ(other.layer, layer.digest);
    EXPECT_EQ(count(*f.store, "SELECT synced FROM blob"), 1); // and so its row stays true
    EXPECT_TRUE(std::filesystem::is_empty(f.root + "/tmp"));
}

TEST(BlobTest, ScrubFindsAndMends)
{
    StoreFixture f;
    const auto chunks = some_chunks(0, 10);
    const auto layer = test::layer_of(*f.store, import(*f.store, make_vdisk(*f.store), chunks));
    const std::string path = f.root + "/cache/" + layer.digest.hex() + ".blob";
    const os::Fd file{::open(path.c_str(), O_RDWR | O_CLOEXEC)};
    ASSERT_EQ(::pwrite(file.get(), "?", 1, 5000), 1);
    EXPECT_EQ(value_of(scrub_blob(*f.store, layer, false)).bad, 1U);
    EXPECT_EQ(value_of(scrub_blob(*f.store, layer, true)).bad, 1U);
    EXPECT_EQ(value_of(scrub_blob(*f.store, layer, false)).bad, 0U);
    EXPECT_EQ(content_of(file), joined(chunks));
}

} // namespace
} // namespace coppice::store
