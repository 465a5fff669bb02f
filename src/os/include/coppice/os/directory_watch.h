#pragma once

#include "coppice/os/fd.h"

namespace coppice::os {

/// Tells when files in a directory are written, come, go or change their names. Source: inotify(7)
class DirectoryWatch {
public:
    /// Errors: Unavailable (too many watches)
    static Result<DirectoryWatch> open(int directory);
    /// Until one of that has happened since the last call, or the time is over.
    Result<> wait(int milliseconds);

private:
    explicit DirectoryWatch(Fd fd) : fd_{std::move(fd)} {}
    Fd fd_;
};

} // namespace coppice::os
