#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

namespace coppice::imports {

/// What untrusted input may ask for. Everything is counted as it will be, not as it comes: 4 TiB of holes are 4 TiB.
/// Memory for the tree of an import is so at most 130 bytes for each entry, `text_bytes`, and what hash tables add to
/// both: about 1.3 GiB when everything is used up.
struct Limits {
    std::uint64_t entries = 4'000'000;        ///< of all archives of one import, replaced ones included
    std::uint64_t logical_bytes = 1ULL << 40; ///< of all files together
    std::uint64_t free_bytes = 1ULL << 30;    ///< decompressed, that need no compressed bytes
    std::uint64_t ratio = 200;                ///< further decompressed bytes per compressed one
    std::size_t depth = 512;                  ///< components of a path
    std::size_t path_bytes = 4096;
    std::size_t text_bytes = 512U << 20;   ///< of names, link targets and attributes, each counted once
    std::size_t header_bytes = 1U << 20;   ///< of one pax header: names, attributes, maps of holes
    std::size_t document_bytes = 4U << 20; ///< of an index, a manifest, a configuration
    std::size_t layers = 512;
};

struct Progress {
    std::string_view stage; ///< such as "reading layers": for people
    std::uint64_t bytes = 0;
    std::uint64_t total_bytes = 0; ///< 0: not known. What has holes ends before it
};

/// What every source needs. `progress` is called by the thread that imports; `stop` may come from any.
struct Context {
    Limits limits;
    std::stop_token stop;
    int spool = -1;         ///< borrowed: the directory for unnamed and temporary files, such as the store's tmp/
    std::string spool_path; ///< the same, for programs that want a path
    std::function<void(const Progress&)> progress = [](const Progress&) {};
};

/// Errors: Unavailable (somebody asked to stop)
Result<> check_stop(const std::stop_token& stop);

} // namespace coppice::imports
