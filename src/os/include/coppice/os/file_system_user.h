#pragma once

#include "coppice/os/capability.h"

#include <sys/fsuid.h>
#include <unistd.h>
#include <utility>

namespace coppice::os {

/// Acts as an instance's root towards file systems, with all rights kept; for the calling thread, as long as it lives.
///
/// Overlayfs works on its layers with the rights of whoever mounted it. The layers show files with mapped ids, where
/// the host's root is nobody and may create nothing; the instance's root may. Source: setfsuid(2), and
/// Documentation/filesystems/overlayfs.rst "Permission model"
class [[nodiscard]] FileSystemUser {
public:
    static Result<FileSystemUser> become(uid_t uid, gid_t gid)
    {
        FileSystemUser user; // gives it up again when this fails
        ::setfsgid(gid);
        ::setfsuid(uid); // takes the file system capabilities out of the effective set
        TRY(raise_effective_capabilities());
        return user;
    }
    FileSystemUser(FileSystemUser&& other) noexcept : active_{std::exchange(other.active_, false)} {}
    FileSystemUser& operator=(FileSystemUser&&) = delete;
    ~FileSystemUser()
    {
        if (!active_) return;
        ::setfsuid(::geteuid());
        ::setfsgid(::getegid());
    }

private:
    FileSystemUser() = default;
    bool active_ = true;
};

} // namespace coppice::os
