// Times of the store by itself; see bench/README.md.
//
//   store_bench ingest ROOT CHUNKS SIZES [LEVEL [THREADS]]   CHUNKS: plain chunks one after another; SIZES: a length
//   per line store_bench rows ROOT COUNT                              collection and fsck with COUNT chunk rows, half
//   of them unused

#include "../../src/store/connection.h"
#include "coppice/store/collect.h"
#include "coppice/store/fsck.h"
#include "coppice/store/ingest.h"
#include "coppice/store/seal.h"
#include "coppice/store/usage.h"
#include "coppice/store/vdisk.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

namespace {

using namespace coppice;

template <typename T> T need(Result<T> result)
{
    if (!result) {
        std::fprintf(stderr, "store_bench: %s\n", result.error().line().c_str());
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>) return *std::move(result);
}

class Clock {
public:
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

private:
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

store::VdiskId vdisk(store::Store& store)
{
    return need(store.write([](store::Txn& txn) -> Result<store::VdiskId> {
        if (const auto found = TRY(store::find_vdisk(txn, "bench"))) return found->id;
        return TRY(store::add_vdisk(txn, "bench")).id;
    }));
}

void ingest(const std::string& root, const char* chunks, const char* sizes, int level, unsigned threads)
{
    const auto store = need(store::Store::open(root));
    const auto id = security::make_random<store::SnapshotId>();
    const auto disk = vdisk(*store);
    const os::Fd file{::open(chunks, O_RDONLY | O_CLOEXEC)};
    struct stat status{};
    ::fstat(file.get(), &status);
    const auto bytes = static_cast<std::size_t>(status.st_size);
    const void* const map = ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file.get(), 0);
    std::string_view data{static_cast<const char*>(map), bytes};
    const Clock clock;
    auto ingest = need(store::Ingest::begin(*store, {.key = id.hex(), .threads = threads, .zstd_level = level}));
    std::ifstream lengths{sizes};
    for (std::size_t length = 0; lengths >> length; data.remove_prefix(length))
        need(ingest->put(data.substr(0, length)));
    const double put = clock.seconds();
    need(ingest->put_metadata("metadata"));
    const auto staged = need(ingest->finish());
    const double finished = clock.seconds();
    need(store->write([&](store::Txn& txn) -> Result<> {
        TRY(store::add_snapshot(txn, {.id = id,
                                      .vdisk = disk,
                                      .parent = {},
                                      .state = store::SnapshotState::Durable,
                                      .bytes = 0,
                                      .author = "bench",
                                      .message = {},
                                      .config = {}}));
        TRY(store::seal_snapshot(txn, id, &staged, store->node_key()));
        return {};
    }));
    const double all = clock.seconds();
    const auto progress = ingest->progress();
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto cpu = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    std::printf("ingest level %d: %.2f s (put %.2f, finish %.2f, commit %.2f), %.0f MB/s; %.1f MB in %lu chunks, new "
                "%lu chunks, "
                "%.1f MB stored; cpu %.2f user %.2f system; peak %ld MiB\n",
                level, all, put, finished - put, all - finished, static_cast<double>(bytes) / 1e6 / all,
                static_cast<double>(progress.plain_bytes) / 1e6, progress.chunks, progress.new_chunks,
                static_cast<double>(progress.new_stored_bytes) / 1e6, cpu(usage.ru_utime), cpu(usage.ru_stime),
                usage.ru_maxrss / 1024);
}

void rows(const std::string& root, std::int64_t count)
{
    const auto store = need(store::Store::open(root));
    const auto disk = vdisk(*store);
    Clock fill;
    // Two layers: one stays, one is removed; each tenth pack is wholly of the second.
    const auto add_layer = [&](std::int64_t layer, const store::SnapshotId& id) {
        need(store->write([&](store::Txn& txn) -> Result<> {
            TRY(store::add_snapshot(txn, {.id = id,
                                          .vdisk = disk,
                                          .parent = {},
                                          .state = store::SnapshotState::Durable,
                                          .bytes = 0,
                                          .author = "bench",
                                          .message = {},
                                          .config = {}}));
            TRY(txn.db().execute(
                "INSERT INTO layer(id, digest, metadata, metadata_bytes, tbl, tbl_bytes, root, blob_bytes, chunks) "
                "VALUES(?, randomblob(32), randomblob(32), 0, randomblob(32), 0, randomblob(32), 0, 0)",
                layer));
            TRY(txn.db().execute(
                "UPDATE snapshot SET state = 3, layer = ?, manifest = randomblob(32) WHERE id = ?", layer, id));
            TRY(txn.db().execute("UPDATE document SET envelope = x'00' WHERE snapshot = ?", id));
            return {};
        }));
    };
    const auto keep = security::make_random<store::SnapshotId>(), drop = security::make_random<store::SnapshotId>();
    add_layer(1, keep);
    add_layer(2, drop);
    constexpr std::int64_t kPerPack = 2000, kPacksAtOnce = 50;
    for (std::int64_t first = 1; first * kPerPack <= count; first += kPacksAtOnce)
        need(store->write([&](store::Txn& txn) -> Result<> {
            for (std::int64_t pack = first; pack < first + kPacksAtOnce && pack * kPerPack <= count; ++pack) {
                const std::string path = root + "/packs/" + std::to_string(pack) + ".pack";
                const os::Fd file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
                if (::ftruncate(file.get(), 200 << 20) != 0)
                    std::exit(1); // sparse: what matters are the rows and the calls
                TRY(txn.db().execute("INSERT INTO pack(id, bytes, closed) VALUES(?, 209715200, 1)", pack));
                for (std::int64_t i = 0; i < kPerPack; ++i) {
                    TRY(txn.db().execute(
                        "INSERT INTO chunk(plain, stored, plain_bytes, stored_bytes, codec, pack, offset) "
                        "VALUES(randomblob(32), randomblob(32), 131072, 90000, 1, ?, ?)",
                        pack, 128 + i * 100000));
                    TRY(txn.db().execute("INSERT INTO layer_chunk(layer, chunk) VALUES(?, ?)",
                                         pack % 10 == 0 || i % 2 == 0 ? 2 : 1, txn.db().last_id()));
                }
            }
            return {};
        }));
    std::printf("filled %ld rows in %.1f s\n", count, fill.seconds());
    const auto timed = [](const char* what, auto call) {
        const Clock clock;
        auto result = need(call());
        std::printf("%-34s %6.2f s\n", what, clock.seconds());
        return result;
    };
    std::printf("%zu findings\n",
                timed("fsck quick", [&] { return store::fsck(*store, store::FsckLevel::Quick); }).findings.size());
    timed("usage", [&] { return store->read([](const store::View& view) { return store::usage(view); }); });
    timed("collection, nothing to do", [&] { return store::collect(*store, {.grace_seconds = 0}); });
    need(store->write([&](store::Txn& txn) { return store::remove_snapshot(txn, drop); }));
    timed("collection, to the trash", [&] { return store::collect(*store, {.grace_seconds = 3600}); });
    need(store->write([&](store::Txn& txn) -> Result<> {
        TRY(txn.db().execute("UPDATE layer SET trashed = 0 WHERE trashed IS NOT NULL"));
        return {};
    }));
    timed("collection, layer gone", [&] { return store::collect(*store, {.grace_seconds = 3600}); });
    need(store->write([&](store::Txn& txn) -> Result<> {
        TRY(txn.db().execute("UPDATE chunk SET trashed = 0 WHERE trashed IS NOT NULL"));
        return {};
    }));
    const auto done =
        timed("collection, chunks out of the trash", [&] { return store::collect(*store, {.grace_seconds = 3600}); });
    std::printf("%lu chunks removed, %lu holes punched, %lu packs unlinked\n", done.removed_chunks, done.punched,
                done.removed_packs);
}

} // namespace

int main(int argc, char** argv)
{
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::string command = argc > 1 ? argv[1] : "";
    if (command == "ingest" && argc >= 5)
        ingest(argv[2], argv[3], argv[4], argc > 5 ? std::atoi(argv[5]) : 3,
               argc > 6 ? static_cast<unsigned>(std::atoi(argv[6])) : 0);
    else if (command == "rows" && argc == 4)
        rows(argv[2], std::atol(argv[3]));
    else {
        std::fprintf(stderr, "usage: store_bench ingest ROOT CHUNKS SIZES [LEVEL [THREADS]] | rows ROOT COUNT\n");
        return 2;
    }
}
