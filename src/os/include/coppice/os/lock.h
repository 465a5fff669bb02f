#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <optional>
#include <string>

namespace coppice::os {

/// An exclusive lock on a file, released when the object or the process goes, however it goes. Processes forked from
/// the holder share it until they close it or execute something. An open file description lock, because it can be
/// asked after without being touched. Source: fcntl_locking(2)
class [[nodiscard]] FileLock {
public:
    /// Waits for the lock. Creates the file (0600) when missing. Blocks.
    static Result<FileLock> take(int dir, const std::string& path);
    /// Empty when somebody else holds it.
    static Result<std::optional<FileLock>> try_take(int dir, const std::string& path);
    /// The same for one byte of the file, which stands for something else than the file: it can be locked by another
    /// holder than its neighbours, and no file has to be cleaned up after a killed one.
    static Result<std::optional<FileLock>> try_take_byte(const std::string& path, std::uint64_t offset);
    /// Whether anybody holds the lock now; a missing file is not locked. Changes nothing.
    static Result<bool> is_held(int dir, const std::string& path);

    [[nodiscard]] const Fd& fd() const { return fd_; }

private:
    explicit FileLock(Fd fd) : fd_{std::move(fd)} {}
    Fd fd_;
};

} // namespace coppice::os
