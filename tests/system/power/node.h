#pragma once

#include "coppice/store/vdisk.h"
#include "coppice/vdisk/sealer.h"
#include "coppice/vdisk/snapshot_mounts.h"
#include "coppice/vdisk/snapshot_trees.h"
#include "coppice/vdisk/working_layers.h"
#include "ledger.h"

#include <memory>
#include <stdexcept>
#include <string>

namespace coppice::power {

/// The value; without one this life of the machine ends, and the test fails.
template <typename T> T need(Result<T> result)
{
    if (!result) throw std::runtime_error{result.error().line()};
    if constexpr (!std::is_void_v<T>) return *std::move(result);
}

/// The store as a daemon has it open.
struct Node {
    explicit Node(const std::string& root)
        : path{root}, store{need(store::Store::open(root))}, mounts{need(vdisk::SnapshotMounts::make(*store))},
          working{*store, *mounts}, sealer{*store}, trees{*store, sealer}
    {
    }
    std::string path;
    std::unique_ptr<store::Store> store;
    std::unique_ptr<vdisk::SnapshotMounts> mounts;
    vdisk::WorkingLayers working;
    vdisk::Sealer sealer;
    vdisk::SnapshotTrees trees;
};

inline constexpr const char* kVdisk = "disk";

/// Recovers as a daemon does after a start, and compares with what the lives before acknowledged. Says "BAD ..." for
/// everything that is not as it must be, settles what a power cut left doubtful, and says how much there was of it.
void check(Node& node, const Ledger& ledger);

/// Works until the machine is cut off.
[[noreturn]] void work(Node& node, std::uint64_t seed);

} // namespace coppice::power
