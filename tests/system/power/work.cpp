#include "content.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/blob.h"
#include "coppice/store/collect.h"
#include "coppice/store/ingest.h"
#include "coppice/store/seal.h"
#include "coppice/vdisk/ingest_sink.h"
#include "coppice/vdisk/layer_writer.h"
#include "coppice/vdisk/read_tree.h"
#include "node.h"

#include <filesystem>
#include <random>
#include <thread>

namespace coppice::power {

namespace {

namespace fs = std::filesystem;
using store::Snapshot;
using store::SnapshotId;
using store::SnapshotState;

constexpr std::size_t kMostSnapshots = 24;
constexpr std::size_t kDeepest = 6;

/// What one thread does. Whatever is said was acknowledged by the store before.
class Worker {
public:
    Worker(Node& node, std::uint64_t seed) : node_{node}, random_{seed} {}

    /// An image as a version; its source is outside the store.
    void import_one(const std::string& scratch)
    {
        const auto seed = new_seed();
        fs::remove_all(scratch);
        fs::create_directories(scratch);
        write_files(scratch, seed);
        const auto directory = need(os::open_at(os::kCwd, scratch, O_RDONLY | O_DIRECTORY));
        auto tree = need(vdisk::read_tree(directory));
        const auto id = security::make_random<SnapshotId>();
        const auto ingest = need(store::Ingest::begin(*node_.store, {.key = "import " + id.hex()}));
        vdisk::IngestSink sink{*ingest};
        need(vdisk::write_layer(tree, sink, sink));
        const auto layer = need(ingest->finish());
        const auto number = need(node_.store->write([&](store::Txn& txn) -> Result<std::uint64_t> {
            auto vdisk = TRY(store::find_vdisk(txn, kVdisk));
            if (!vdisk) vdisk = TRY(store::add_vdisk(txn, kVdisk));
            TRY(store::add_snapshot(txn, {.id = id,
                                          .vdisk = vdisk->id,
                                          .parent = {},
                                          .state = SnapshotState::Durable,
                                          .bytes = 0,
                                          .author = "power",
                                          .message = std::to_string(seed),
                                          .config = {}}));
            TRY(store::seal_snapshot(txn, id, &layer, node_.store->node_key()));
            return TRY(store::add_version(txn, vdisk->id, id, store::VersionState::Test)).number;
        }));
        say(cat("snapshot ", id.hex(), " ", seed));
        say("sealed " + id.hex());
        say(cat("version ", number, " ", id.hex()));
    }

    /// Versions but the latest go, and their snapshots if nobody needs them.
    void remove_versions()
    {
        const auto vdisk =
            need(node_.store->read([](const store::View& view) { return store::get_vdisk(view, kVdisk); }));
        const auto versions =
            need(node_.store->read([&](const store::View& view) { return store::versions(view, vdisk.id); }));
        for (std::size_t i = 0; i + 2 < versions.size(); ++i) {
            say(cat("begin version ", versions[i].number));
            need(node_.store->write(
                [&](store::Txn& txn) { return store::remove_version(txn, vdisk.id, versions[i].number); }));
            say(cat("version ", versions[i].number, " -"));
            remove(versions[i].snapshot);
        }
    }

    void collect() { need(store::collect(*node_.store, {.grace_seconds = 0, .session_seconds = 3600})); }

    void freeze(const std::string& name)
    {
        const auto seed = new_seed();
        const std::string upper = cat(node_.path, "/working/", name, "/layer/upper");
        write_files(upper, seed);
        write_junk(upper, seed);
        say("begin working " + name);
        const auto made =
            need(node_.working.freeze(name, {.author = "power", .message = std::to_string(seed), .config = {}}));
        say(cat("snapshot ", made.id.hex(), " ", seed));
        say(cat("working ", name, " ", made.id.hex()));
        write_junk(upper, seed + 1); // goes on at once
        const auto further = random_() % 4;
        if (further == 0) return; // stays as it is
        need(node_.sealer.make_durable(made.id));
        say("durable " + made.id.hex());
        if (further == 1) return;
        need(node_.sealer.seal(made.id));
        say("sealed " + made.id.hex());
    }

    void tag(const std::string& name)
    {
        const auto all = snapshots();
        const auto& one = all[random_() % all.size()];
        say("begin tag " + name);
        const auto done =
            node_.store->write([&](store::Txn& txn) { return store::set_tag(txn, one.vdisk, name, one.id); });
        if (done)
            say(cat("tag ", name, " ", one.id.hex()));
        else if (done.error().kind() != ErrorKind::NotFound)
            need(done); // the other thread removed it
    }

    void rollback(const std::string& name)
    {
        const auto all = snapshots();
        for (int tries = 0; tries < 20; ++tries) {
            const auto& one = all[random_() % all.size()];
            const auto line =
                node_.store->read([&](const store::View& view) { return store::ancestors(view, one.id); });
            if (!line || line->size() > kDeepest / 2) continue;
            say("begin working " + name);
            const auto done = node_.working.rollback(name, one.id);
            if (done) return say(cat("working ", name, " ", one.id.hex()));
            if (done.error().kind() != ErrorKind::NotFound) need(done);
            return;
        }
    }

    void one_step(const std::vector<std::string>& names)
    {
        const std::string& name = names[random_() % names.size()];
        const auto below =
            need(node_.store->read([&](const store::View& view) { return store::find_working(view, name); }));
        if (!below) return create(name);
        const auto depth = need(node_.store->read([&](const store::View& view) {
                               return store::ancestors(view, below->snapshot);
                           })).size();
        const auto what = random_() % 20;
        if (depth > kDeepest || what == 0) return rollback(name);
        if (what < 13) return freeze(name);
        if (what < 15) return tag(cat("t", random_() % 3));
        if (what < 16) {
            need(node_.sealer.remove_sealed_directories());
            need(node_.working.sweep());
            need(node_.sealer.sweep());
            return;
        }
        if (what < 17) {
            say("begin working " + name);
            need(node_.working.remove(name));
            return say(cat("working ", name, " -"));
        }
        if (what < 18) {
            const auto sealed = need(node_.sealer.seal_all());
            if (!sealed.failed.empty()) need(Result<>{fail(sealed.failed.front().second)});
            for (const SnapshotId& id : sealed.done)
                say("sealed " + id.hex());
            return;
        }
        thin_out();
    }

    /// Removes leaves, the oldest first, until there are not too many.
    void thin_out()
    {
        auto all = snapshots();
        for (std::size_t i = all.size(); i-- > 0 && all.size() > kMostSnapshots;)
            if (remove(all[i].id)) all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
    }

private:
    std::uint64_t new_seed() { return 1 + random_() % 1'000'000'000; }

    std::vector<Snapshot> snapshots()
    {
        const auto vdisk =
            need(node_.store->read([](const store::View& view) { return store::get_vdisk(view, kVdisk); }));
        return need(node_.store->read([&](const store::View& view) { return store::log(view, vdisk.id); }));
    }

    void create(const std::string& name)
    {
        const auto all = snapshots();
        const auto& one = all[random_() % all.size()];
        say("begin working " + name);
        const auto done = node_.working.create(name, one.id);
        if (done) return say(cat("working ", name, " ", one.id.hex()));
        if (done.error().kind() != ErrorKind::NotFound) need(done);
    }

    bool remove(const SnapshotId& id)
    {
        if (!need(node_.store->read([&](const store::View& view) { return store::dependents(view, id); })).empty())
            return false;
        say("begin remove " + id.hex());
        const auto done = node_.sealer.remove(id);
        if (done)
            say("removed " + id.hex());
        else if (done.error().kind() != ErrorKind::Conflict && done.error().kind() != ErrorKind::NotFound)
            need(done);
        return done.has_value();
    }

    Node& node_;
    std::mt19937_64 random_;
};

template <typename Body> void forever(const char* what, Body body)
{
    try {
        for (;;)
            body();
    } catch (const std::exception& error) {
        say(cat("BAD ", what, ": ", error.what()));
    }
}

} // namespace

void work(Node& node, std::uint64_t seed)
{
    Worker images{node, seed * 2 + 1}, layers{node, seed * 2};
    if (!need(node.store->read([](const store::View& view) { return store::find_vdisk(view, kVdisk); })))
        images.import_one("/tmp/image");
    say("ready");
    std::thread other{[&] {
        forever("images", [&] {
            images.import_one("/tmp/image");
            images.remove_versions();
            images.collect();
        });
    }};
    forever("layers", [&] { layers.one_step({"a", "b", "c"}); });
    for (;;)
        std::this_thread::sleep_for(std::chrono::hours{1});
}

} // namespace coppice::power
