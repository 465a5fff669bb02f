#pragma once

#include "coppice/os/fd.h"

#include <string>

namespace coppice::exports {

/// A file or directory that appears under its name when it is complete. Until then it has another name beside it, which
/// goes with the object. Nobody but its owner can read it: it holds what a root file system keeps from others.
class Destination {
public:
    enum class Kind : unsigned char { File, Directory };
    /// Errors: Conflict (the path is there), NotFound (its directory is not), Invalid (no path)
    static Result<Destination> make(const std::string& path, Kind kind);
    Destination(Destination&& other) noexcept;
    Destination& operator=(Destination&&) = delete;
    ~Destination();

    /// Open: the file for reading and writing, or the directory.
    [[nodiscard]] const os::Fd& get() const { return open_; }
    /// Syncs the file or directory itself, gives it its name, and syncs that. What is in a directory is for the caller
    /// to sync. Errors: Conflict (something has got the name meanwhile)
    Result<> complete() &&;

private:
    Destination(os::Fd parent, std::string name, Kind kind);
    os::Fd parent_, open_;
    std::string name_, passing_; ///< in the parent; `passing_` is empty once it is gone
    Kind kind_;
};

} // namespace coppice::exports
