#pragma once

#include "coppice/os/fd.h"

#include <string>

namespace coppice::os {

/// A read-only loop device over an image file. It detaches itself when nothing uses it any more (autoclear), so a
/// killed process leaves none behind.
class [[nodiscard]] LoopDevice {
public:
    /// The device that already shows this very file read-only, or a new one. Sharing one device is what shares one
    /// page cache between all instances of an image. Holds a lock on the file for a moment. Blocks.
    /// Errors: Unsupported (no loop devices here), Unavailable (none free)
    static Result<LoopDevice> over(const Fd& image, const std::string& name);

    [[nodiscard]] const std::string& path() const { return path_; } ///< /dev/loopN

private:
    LoopDevice(Fd device, std::string path) : device_{std::move(device)}, path_{std::move(path)} {}
    Fd device_; ///< keeps the device until the mount does
    std::string path_;
};

} // namespace coppice::os
