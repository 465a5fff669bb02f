// What tests and benchmarks do with a store by themselves, without daemon:
//   store_tool import STORE VDISK SOURCE [architecture=A] [authfile=F] [plain_http=1] [partition=N] [mirror=URL]
//                                        [file_system=/PATH]... [threads=N]
//   store_tool export STORE SNAPSHOT oci|tar|flat PATH [REFERENCE]
//   store_tool files STORE SNAPSHOT [PATH]      a tar of what is at PATH, to the standard output
// import and export print one line of JSON; an error is "KIND: message (hint)" on the standard error, and status 1.

#include "coppice/base/text.h"
#include "coppice/export/export_snapshot.h"
#include "coppice/export/tar_export.h"
#include "coppice/import/import_image.h"
#include "coppice/os/file.h"
#include "coppice/store/usage.h"

#include <array>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace {

using namespace coppice;

constexpr std::array<const char*, 11> kKinds{
    "NotFound",    "Denied",  "Conflict", "Corrupt",         "Unavailable",
    "Unsupported", "Invalid", "Gone",     "CommandNotFound", "CommandNotExecutable",
    "Os"};

/// The most memory that this program has had; children have their own.
std::uint64_t peak_bytes()
{
    std::ifstream status{"/proc/self/status"};
    std::string word;
    std::uint64_t kilobytes = 0;
    while (status >> word)
        if (word == "VmHWM:") status >> kilobytes;
    return kilobytes * 1024;
}

double seconds()
{
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

Result<nlohmann::json> run_import(store::Store& store, const std::vector<std::string>& words)
{
    imports::SourceOptions options;
    imports::ImportOptions wanted{.vdisk = words[0], .key = cat("tool ", ::getpid()), .author = "store_tool"};
    bool default_file_systems = true;
    for (std::size_t i = 2; i < words.size(); ++i) {
        const auto equals = words[i].find('=');
        const auto name = words[i].substr(0, equals), value = words[i].substr(equals + 1);
        if (name == "architecture") options.architecture = value;
        if (name == "authfile") options.authfile = value;
        if (name == "plain_http") options.plain_http = true;
        if (name == "partition") options.partition = static_cast<unsigned>(std::stoul(value));
        if (name == "mirror") options.mirror = value;
        if (name == "threads") wanted.threads = static_cast<unsigned>(std::stoul(value));
        if (name == "file_system") {
            if (std::exchange(default_file_systems, false)) options.file_systems.clear();
            options.file_systems.push_back(value);
        }
    }
    const auto source = TRY(imports::parse_source(words[1]));
    const auto plain_bytes = [&]() -> Result<std::uint64_t> {
        return TRY(store.read([](const store::View& view) { return store::usage(view); })).plain_bytes;
    };
    const auto before = TRY(plain_bytes());
    const double begin = seconds();
    const auto made = TRY(imports::import_image(store, source, options, wanted, {}));
    const double end = seconds();
    const auto after = TRY(plain_bytes());
    std::string config;
    const auto snapshot = TRY(store.read([&](const store::View& view) -> Result<store::Snapshot> {
        config = TRY(store::config_of(view, made.snapshot));
        return store::get_snapshot(view, made.snapshot);
    }));
    return nlohmann::json{{"snapshot", made.snapshot.hex()},
                          {"layer", snapshot.layer->hex()},
                          {"config", config},
                          {"inodes", made.size.inodes},
                          {"file_bytes", made.size.file_bytes},
                          {"blob_bytes", made.size.blob_bytes},
                          {"metadata_bytes", made.size.metadata_bytes},
                          {"chunks", made.ingest.chunks},
                          {"plain_bytes", made.ingest.plain_bytes},
                          {"new_chunks", made.ingest.new_chunks},
                          {"new_plain_bytes", after - before},
                          {"new_stored_bytes", made.ingest.new_stored_bytes},
                          {"seconds", end - begin},
                          {"peak_bytes", peak_bytes()}};
}

Result<nlohmann::json> run_export(store::Store& store, const std::vector<std::string>& words)
{
    vdisk::Sealer sealer{store};
    vdisk::SnapshotTrees trees{store, sealer};
    const auto id = TRY(store::SnapshotId::parse(words[0]));
    const auto format = words[1] == "oci"   ? exports::Format::Oci
                        : words[1] == "tar" ? exports::Format::Tar
                                            : exports::Format::Flat;
    const double begin = seconds();
    const auto made = TRY(exports::export_snapshot(
        store, trees, id,
        {.format = format, .path = words[2], .reference = words.size() > 3 ? words[3] : std::string{}}, {}));
    return nlohmann::json{{"bytes", made.bytes},
                          {"digest", made.digest.hex()},
                          {"seconds", seconds() - begin},
                          {"peak_bytes", peak_bytes()}};
}

class Output final : public vdisk::ByteSink {
public:
    Result<> write(std::string_view bytes) override { return os::write_all(STDOUT_FILENO, bytes, "the output"); }
};

Result<> run(const std::string& command, const std::string& root, const std::vector<std::string>& words)
{
    const auto store = TRY(store::Store::open(root));
    if (command == "files") {
        vdisk::Sealer sealer{*store};
        vdisk::SnapshotTrees trees{*store, sealer};
        auto tree = TRY(vdisk::merge_trees(TRY(trees.stack_of(TRY(store::SnapshotId::parse(words[0]))))));
        tree.sort();
        Output out;
        return exports::write_tar(tree, {.path = words.size() > 1 ? words[1] : std::string_view{}}, out, {});
    }
    const auto said = TRY(command == "import" ? run_import(*store, words) : run_export(*store, words));
    std::printf("%s\n", said.dump().c_str());
    return {};
}

} // namespace

int main(int argc, char** argv)
{
    const std::vector<std::string> words(argv + std::min(argc, 3), argv + argc);
    const std::string command = argc > 1 ? argv[1] : "";
    const std::size_t least = command == "import" ? 2 : command == "export" ? 3 : command == "files" ? 1 : 99;
    if (words.size() < least) {
        std::fputs("usage: see store_tool.cpp\n", stderr);
        return 2;
    }
    const auto done = run(command, argv[2], words);
    if (done) return 0;
    std::fprintf(stderr, "%s: %s\n", kKinds.at(static_cast<std::size_t>(done.error().kind())),
                 done.error().line().c_str());
    return 1;
}
