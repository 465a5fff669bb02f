// Times of the snapshot tree; see bench/README.md. Needs root.
//
//   tree_bench lookup DIRECTORY SNAPSHOTS        cold look-ups in deep stacks whose layers all touch every directory
//   tree_bench freeze DIRECTORY FILES BYTES [ROUNDS]      freeze, branch, rollback, durable; FILES files of BYTES just
//   written
//
// DIRECTORY is made and must not be there; it stays.

#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/store/seal.h"
#include "coppice/store/usage.h"
#include "coppice/store/vdisk.h"
#include "coppice/vdisk/flattener.h"
#include "coppice/vdisk/read_tree.h"
#include "coppice/vdisk/sealer.h"
#include "coppice/vdisk/snapshot_mounts.h"
#include "coppice/vdisk/snapshot_trees.h"
#include "coppice/vdisk/working_layers.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <random>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace {

using namespace coppice;
using namespace coppice::vdisk;

template <typename T> T need(Result<T> result)
{
    if (!result) {
        std::fprintf(stderr, "tree_bench: %s\n", result.error().line().c_str());
        std::exit(1);
    }
    if constexpr (!std::is_void_v<T>) return *std::move(result);
}

template <typename Call> double seconds(Call call)
{
    const auto begin = std::chrono::steady_clock::now();
    call();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

void write_file(int directory, const std::string& path, const std::string& content)
{
    const auto file = need(os::open_at(directory, path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
    need(os::write_all(file.get(), content, path));
}

constexpr int kDirectories = 20, kFilesEach = 100;

struct Node {
    explicit Node(const std::string& directory) : root{directory}
    {
        if (::mkdir(root.c_str(), 0755) != 0) {
            std::perror(root.c_str());
            std::exit(1);
        }
        store = need(store::Store::open(root + "/store"));
        mounts = need(SnapshotMounts::make(*store));
        working.emplace(*store, *mounts);
        sealer.emplace(*store);
        trees.emplace(*store, *sealer);
        base = import_base();
    }
    store::SnapshotId import_base()
    {
        const std::string tree = root + "/base";
        need(os::make_directory(os::kCwd, tree, 0755));
        for (int d = 0; d < kDirectories; ++d) {
            need(os::make_directory(os::kCwd, tree + "/d" + std::to_string(d), 0755));
            for (int f = 0; f < kFilesEach; ++f)
                write_file(os::kCwd, tree + "/d" + std::to_string(d) + "/f" + std::to_string(f),
                           std::string(4096, static_cast<char>('a' + f % 26)));
        }
        auto read = need(read_tree(need(os::open_at(os::kCwd, tree, O_RDONLY | O_DIRECTORY))));
        struct Sink final : ByteSink {
            explicit Sink(store::Ingest& to) : ingest{to} {}
            Result<> write(std::string_view bytes) override { return ingest.put_metadata(bytes); }
            store::Ingest& ingest;
        };
        const auto ingest = need(store::Ingest::begin(*store, {.key = "base"}));
        Sink metadata{*ingest};
        need(write_layer(read, *ingest, metadata));
        const auto layer = need(ingest->finish());
        const auto id = security::make_random<store::SnapshotId>();
        need(store->write([&](store::Txn& txn) -> Result<> {
            const auto vdisk = TRY(store::add_vdisk(txn, "bench"));
            store::NewSnapshot wanted;
            wanted.id = id;
            wanted.vdisk = vdisk.id;
            wanted.state = store::SnapshotState::Durable;
            wanted.author = "bench";
            TRY(store::add_snapshot(txn, wanted));
            TRY(store::seal_snapshot(txn, id, &layer, store->node_key()));
            return {};
        }));
        return id;
    }
    store::SnapshotId freeze(const std::string& name)
    {
        return need(working->freeze(name, {.author = "bench", .message = "", .config = ""})).id;
    }
    /// With the layer mounted at a directory, as users have it.
    /// @returns seconds to unmount
    template <typename Body> double in_layer(const std::string& name, Body body)
    {
        const std::string at = root + "/mounted";
        (void)::mkdir(at.c_str(), 0755);
        need(mounts->attach_working(name, at));
        body(need(os::open_at(os::kCwd, at, O_RDONLY | O_DIRECTORY)).get());
        return seconds([&] { need(mounts->detach(at)); });
    }

    std::string root;
    std::unique_ptr<store::Store> store;
    std::unique_ptr<SnapshotMounts> mounts;
    std::optional<WorkingLayers> working;
    std::optional<Sealer> sealer;
    std::optional<SnapshotTrees> trees;
    store::SnapshotId base;
};

/// A snapshot whose stack is looked into, and what was seen: milliseconds to mount, microseconds for each of the
/// others.
struct Case {
    std::string name;
    store::SnapshotId id;
    std::size_t layers = 0;
    std::vector<double> mount, found, missing, list;
};

/// Everything is mounted anew, so that no file system knows a name.
void look_up(Node& node, Case& one)
{
    static std::mt19937 random{1};
    const auto fresh = need(SnapshotMounts::make(*node.store));
    StackedMount stacked;
    one.mount.push_back(1e3 * seconds([&] { stacked = need(fresh->open(one.id, "bench")); }));
    one.layers = stacked.layers;
    std::vector<std::string> names;
    for (int d = 0; d < kDirectories; ++d)
        for (int f = 0; f < kFilesEach; ++f)
            names.push_back("d" + std::to_string(d) + "/f" + std::to_string(f));
    std::shuffle(names.begin(), names.end(), random);
    const auto each = [&](const char* suffix, int wanted) {
        return 1e6 / static_cast<double>(names.size()) * seconds([&] {
                   struct stat status{};
                   for (const std::string& name : names)
                       if (::fstatat(stacked.mount.get(), (name + suffix).c_str(), &status, AT_SYMLINK_NOFOLLOW) !=
                           wanted)
                           std::exit(1);
               });
    };
    one.found.push_back(each("", 0));
    one.missing.push_back(each("-not", -1));
    one.list.push_back(1e6 / kDirectories * seconds([&] {
                           for (int d = 0; d < kDirectories; ++d)
                               need(os::list_directory(stacked.mount.get(), "d" + std::to_string(d)));
                       }));
    stacked = {};
    need(fresh->release("bench"));
}

/// By turns. The first case is what the others are compared with.
void compare(Node& node, std::vector<Case> cases)
{
    for (int round = 0; round < 9; ++round)
        for (Case& one : cases)
            look_up(node, one);
    std::printf(
        "| above the base | layers mounted | mount ms | cold stat us | times that of the first | missing name us "
        "| list of a directory us |\n|---|---|---|---|---|---|---|\n");
    for (const Case& one : cases)
        std::printf("| %s | %zu | %.2f | %.2f | %.2f | %.2f | %.0f |\n", one.name.c_str(), one.layers,
                    median(one.mount), median(one.found), median(one.found) / median(cases.front().found),
                    median(one.missing), median(one.list));
    std::printf("\n");
}

void lookup(const std::string& directory, int count)
{
    Node node{directory};
    need(node.working->create("w", node.base));
    std::vector<store::SnapshotId> line;
    for (int i = 1; i <= count; ++i) {
        node.in_layer("w", [&](int root) {
            for (int d = 0; d < kDirectories; ++d)
                write_file(root, "d" + std::to_string(d) + "/s" + std::to_string(i), std::string(100, 'x'));
        });
        line.push_back(node.freeze("w"));
        need(node.sealer->seal(line.back()));
    }
    const auto case_of = [&](int at) {
        Case one;
        one.name = std::to_string(at) + " snapshots";
        one.id = line[static_cast<std::size_t>(at) - 1];
        return one;
    };
    compare(node, {case_of(1), case_of(count)});
    Flattener flattener{*node.store, *node.trees};
    std::size_t made = 0;
    const double took = seconds([&] { made = need(flattener.flatten_all()).made; });
    std::printf("%zu shortcuts in %.2f s\n\n", made, took);
    std::vector<Case> cases{case_of(1), case_of(count)};
    for (const int at : {count - 1, 95, 63, 31}) { // those before a power of two have the deepest stacks
        if (at < 2 || at >= count) continue;
        need(flattener.flatten(line[static_cast<std::size_t>(at) - 1]));
        cases.push_back(case_of(at));
    }
    compare(node, std::move(cases));
    const auto used = need(node.store->read([](const store::View& view) { return store::usage(view); }));
    std::printf("%.1f kB stored for shortcuts only, %.1f kB for snapshots\n",
                static_cast<double>(used.shortcut_bytes) / 1e3,
                static_cast<double>(used.stored_bytes - used.shortcut_bytes) / 1e3);
}

void fill(int root, int files, std::size_t bytes, unsigned seed)
{
    std::mt19937_64 random{seed};
    std::string content(bytes, '\0');
    for (char& byte : content)
        byte = static_cast<char>(random());
    for (int i = 0; i < files; ++i) {
        if (i % 100 == 0) need(os::make_directory(root, "new" + std::to_string(i / 100), 0755));
        content.replace(0, std::min<std::size_t>(bytes, 8), std::to_string(i));
        write_file(root, "new" + std::to_string(i / 100) + "/" + std::to_string(i), content);
    }
}

void freeze(const std::string& directory, int files, std::size_t bytes, int rounds)
{
    Node node{directory};
    std::vector<double> unmounts, freezes, branches, rollbacks, durables, syncs;
    // A store that has been in use for a while: its log has been filled once and does not grow any more.
    for (int i = 0; i < 600; ++i)
        need(node.store->write([&](store::Txn& txn) {
            return store::take_lease(txn, "lease" + std::to_string(i % 8), node.base, store::Time{INT64_MAX});
        }));
    for (int round = 0; round < rounds; ++round) {
        const std::string name = "w" + std::to_string(round), other = "b" + std::to_string(round);
        need(node.working->create(name, node.base));
        need(os::sync_file_system(node.store->directory(), "the store"));
        unmounts.push_back(
            node.in_layer(name, [&](int root) { fill(root, files, bytes, static_cast<unsigned>(round)); }));
        store::SnapshotId id;
        freezes.push_back(seconds([&] { id = node.freeze(name); }));
        branches.push_back(seconds([&] { need(node.working->create(other, id)); }));
        durables.push_back(seconds([&] { need(node.sealer->make_durable(id)); }));
        // The same data beside the store, in the same way.
        const auto plain = node.root + "/plain" + std::to_string(round);
        need(os::make_directory(os::kCwd, plain, 0755));
        const auto beside = need(os::open_at(os::kCwd, plain, O_RDONLY | O_DIRECTORY));
        fill(beside.get(), files, bytes, static_cast<unsigned>(round) + 1000);
        syncs.push_back(seconds([&] { need(os::sync_file_system(beside.get(), plain)); }));
        // Rolling back is away from as much again.
        node.in_layer(other, [&](int root) {
            need(os::make_directory(root, "more", 0755));
            fill(need(os::open_at(root, "more", O_RDONLY | O_DIRECTORY)).get(), files, bytes,
                 static_cast<unsigned>(round) + 2000);
        });
        rollbacks.push_back(seconds([&] { need(node.working->rollback(other, node.base)); }));
        need(node.working->sweep());
        need(os::remove_tree(os::kCwd, plain));
        need(os::sync_file_system(node.store->directory(), "the store"));
    }
    std::printf("| %d files of %zu bytes, not synced | median ms | most ms |\n|---|---|---|\n", files, bytes);
    const auto show = [](const char* what, const std::vector<double>& all) {
        std::printf("| %s | %.2f | %.2f |\n", what, 1e3 * median(all), 1e3 * *std::max_element(all.begin(), all.end()));
    };
    show("unmount", unmounts);
    show("freeze", freezes);
    show("branch", branches);
    show("rollback", rollbacks);
    show("durable", durables);
    show("syncfs of the same data beside it", syncs);
}

} // namespace

int main(int argc, char** argv)
{
    std::setvbuf(stdout, nullptr, _IOLBF, 0);
    const std::string command = argc > 1 ? argv[1] : "";
    if (command == "lookup" && argc == 4)
        lookup(argv[2], std::atoi(argv[3]));
    else if (command == "freeze" && argc >= 5)
        freeze(argv[2], std::atoi(argv[3]), static_cast<std::size_t>(std::atol(argv[4])),
               argc > 5 ? std::atoi(argv[5]) : 9);
    else {
        std::fprintf(stderr, "usage: tree_bench lookup DIRECTORY SNAPSHOTS | freeze DIRECTORY FILES BYTES [ROUNDS]\n");
        return 2;
    }
}
