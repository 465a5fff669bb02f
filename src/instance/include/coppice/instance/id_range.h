#pragma once

#include "coppice/os/id_map.h"
#include "coppice/os/lock.h"

#include <string>

namespace coppice::instance {

/// A range of 65,536 host user and group ids that one running instance has for itself, so that no two instances can
/// touch each other's processes or files even through the host. Taken at each start and given back at the end: files
/// are stored with the instance's own ids, so any range will do.
class [[nodiscard]] IdRange {
public:
    static constexpr std::uint32_t kSize = 65536;
    /// Ranges lie in [kFirst, kLast): above what useradd hands out as subordinate ids by default and below 2^31.
    static constexpr std::uint32_t kFirst = 0x4000'0000, kLast = 0x6FFF'0000;

    /// A range that nobody on this host holds.
    /// @param lock_file the same for all of the host, with a byte for each range; made, with its directory, when
    /// missing Errors: Unavailable (all 12,287 are taken)
    static Result<IdRange> take(const std::string& lock_file);

    [[nodiscard]] std::uint32_t first() const { return first_; }
    [[nodiscard]] os::UserMapping mapping() const { return mapping_of(first_); }
    /// Of the range that begins with this id.
    static os::UserMapping mapping_of(std::uint32_t first);

private:
    IdRange(std::uint32_t first, os::FileLock lock) : first_{first}, lock_{std::move(lock)} {}
    std::uint32_t first_;
    os::FileLock lock_; ///< gone with the process, however it ends
};

} // namespace coppice::instance
