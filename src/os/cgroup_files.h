#pragma once

#include "coppice/os/cgroup.h"

/// What the two kernels' interfaces have in common behind cgroup.h; private to the module.
namespace coppice::os::cgroup_files {

constexpr int kPatienceMs = 10'000;

/// What a control file's content tells of a value that is about to be replaced.
enum class Content : unsigned char {
    Value,  ///< it is the value
    Line,   ///< a line per key; the line is the value
    Number, ///< a line per key; what stands behind the key is the value
};

/// One write to a control file: a limit as the kernel takes it.
struct LimitWrite {
    std::string controller;
    std::string file;
    std::string value;
    std::string what;             ///< for people
    const char* kernel_need = ""; ///< what a kernel must have to offer the file; empty: nothing special
    std::string other_file = {}, other_value = {}; ///< where `file` is not there
    bool skip_if_missing = false;                  ///< asks for what is so anyway without the file
    /// The kernel checks it against one of the next writes, too: refused as invalid, it is tried again after that one.
    bool may_wait = false;
    Content content = Content::Value;
    std::string key = {};   ///< of the line
    std::string unset = {}; ///< value that takes the line away, or brings the default back
    bool operator==(const LimitWrite&) const = default;
};

/// The directory of a controller; empty when there is none.
std::string directory_of(const CgroupPaths& paths, const std::string& controller);
/// The number that a control file holds alone, "max" being none. Errors: Os, Corrupt
Result<std::optional<std::uint64_t>> read_number(const std::string& path);
Result<> make_path(const std::string& directory);
/// The number behind `key ` in a flat-keyed file such as memory.events.
std::optional<std::uint64_t> keyed_number(const std::string& path, std::string_view key);
/// The content of cgroup.procs.
std::vector<pid_t> parse_pids(std::string_view text);
/// The one directory by which processes are counted and killed.
std::string tracking_directory(const CgroupPaths& paths);
/// Every directory once.
std::vector<std::string> v1_directories(const CgroupPaths& paths);

/// v1 counts CPU shares from 2 to 262144, v2 weights from 1 to 10000. Source: runtime-spec's recommended conversion
std::uint64_t weight_of_shares(std::uint64_t shares);

// cgroup_common.cpp
void add_cpuset(std::vector<LimitWrite>& writes, const CgroupLimits& limits);
/// @param ending last part of the files' names: "max", or "limit_in_bytes" on v1
void add_huge_pages(std::vector<LimitWrite>& writes, const CgroupLimits& limits, std::string_view ending);
void add_rdma(std::vector<LimitWrite>& writes, const CgroupLimits& limits);

// cgroup_v1.cpp
std::vector<std::string> v1_controllers_for(const CgroupLimits& limits);
/// @param swap_first the new limit of memory and swap must be set before that of memory
std::vector<LimitWrite> v1_writes(const CgroupLimits& limits, bool swap_first);
/// A new v1 cpuset takes no process until both of its lists are filled.
Result<> prepare_cpuset(const std::string& directory);

// cgroup_v2.cpp
Result<std::vector<std::string>> v2_controllers_for(const CgroupLimits& limits);
/// Controllers that can be switched on for children of the hierarchy's root.
Result<std::string> v2_root_controllers(const std::string& mount);
/// Switches `needed` on in every directory above `directory`, and `wished` where that is possible.
Result<> enable_v2_controllers(const std::string& directory, const std::vector<std::string>& needed,
                               const std::vector<std::string>& wished);
/// @param all as for update_limits. Errors: Unsupported (v1 alone has it), Invalid
Result<std::vector<LimitWrite>> v2_writes(const CgroupLimits& limits, const CgroupLimits& all);

} // namespace coppice::os::cgroup_files
