#pragma once

#include "coppice/os/fd.h"
#include "coppice/store/pack.h"

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace coppice::store {

/// Where a chunk's stored bytes lie.
struct Place {
    std::uint64_t pack = 0;
    std::uint64_t offset = 0;
};

/// A place in a pack that is free and perhaps not punched yet.
struct HoleRow {
    std::uint64_t offset = 0, bytes = 0;
    bool overlaps = false; ///< a chunk lies there all the same
};

/// A pack that is being written, by one thread.
class PackWriter {
public:
    [[nodiscard]] std::uint64_t number() const { return number_; }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] bool has_room(std::size_t stored_bytes) const
    {
        return bytes_ + kChunkHeaderBytes + stored_bytes <= kPackMaxBytes;
    }
    Result<Place> append(const Chunk& chunk, std::string_view stored);
    /// Hands everything appended so far to the kernel.
    Result<> flush();
    /// A second descriptor, so that another thread can sync what was flushed while this one appends.
    [[nodiscard]] Result<os::Fd> duplicate() const { return file_.duplicate(); }

private:
    friend class Packs;
    PackWriter(os::Fd file, std::uint64_t number) : file_{std::move(file)}, number_{number} {}
    os::Fd file_;
    std::uint64_t number_;
    std::uint64_t bytes_ = 0; // with what waits in buffer_
    std::string buffer_;      // not yet written
};

/// The directory of packs.
class Packs {
public:
    /// @param directory borrowed
    explicit Packs(os::Fd directory) : directory_{std::move(directory)} {}

    /// @param number must have a row already, so that a file without one never comes from us. Its name is synced.
    Result<PackWriter> create(std::uint64_t number);
    /// Open for reading, shared. Errors: NotFound
    Result<std::shared_ptr<const os::Fd>> open(std::uint64_t number) const;
    Result<std::string> read(const Place& place, std::size_t size) const;

    /// Gives the space of dead chunks back, as far as the file system can. A pack that is gone is fine.
    Result<> punch(std::uint64_t number, const std::vector<HoleRow>& holes) const;
    Result<> cut(std::uint64_t number, std::uint64_t bytes) const;
    /// The caller syncs before the row goes: a file without a row is nobody's.
    Result<> remove(std::uint64_t number) const;
    Result<> sync() const;
    [[nodiscard]] Result<std::map<std::uint64_t, std::uint64_t>>
    list() const; ///< number to size of every file there is

    static std::string file_name(std::uint64_t number);
    [[nodiscard]] int directory() const { return directory_.get(); }

private:
    os::Fd directory_;
    mutable std::mutex mutex_;
    mutable std::map<std::uint64_t, std::shared_ptr<const os::Fd>> open_;
};

} // namespace coppice::store
