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

    /// A range that nobody on this host holds. @param lock_directory the same for all of the host; made when missing
    /// Errors: Unavailable (all 12,287 are taken)
    static Result<IdRange> take(const std::string& lock_directory);

    /// Removes the lock files of ranges whose holder was killed. Ranges in use, or being taken, are left alone.
    static Result<> sweep(const std::string& lock_directory);

    [[nodiscard]] std::uint32_t first() const { return first_; }
    [[nodiscard]] os::UserMapping mapping() const;

    IdRange(IdRange&&) noexcept = default;
    IdRange& operator=(IdRange&&) = delete;
    ~IdRange();

private:
    IdRange(std::uint32_t first, os::Fd directory, os::FileLock lock)
        : first_{first}, directory_{std::move(directory)}, lock_{std::move(lock)}
    {
    }
    std::uint32_t first_;
    os::Fd directory_;
    os::FileLock lock_; ///< gone with the process, however it ends
};

} // namespace coppice::instance
