#pragma once

#include "coppice/os/fd.h"

#include <cstdint>
#include <string>

namespace coppice::os {

/// A read-only loop device over an image file. It detaches itself when nothing uses it any more (autoclear), so a
/// killed process leaves none behind.
class [[nodiscard]] LoopDevice {
public:
    /// The device that already shows this very file read-only, or a new one. Sharing one device is what shares one
    /// page cache between all instances of an image. Holds a lock on the file for a moment. Blocks.
    /// Errors: Unsupported (no loop devices here), Unavailable (none free)
    static Result<LoopDevice> over(const Fd& image, const std::string& name) { return over(image, name, Range{}); }
    /// The same of a part of the file, such as a partition: multiples of 512 bytes; `bytes` 0 for all behind `offset`.
    struct Range {
        std::uint64_t offset = 0, bytes = 0;
    };
    static Result<LoopDevice> over(const Fd& image, const std::string& name, const Range& range);

    [[nodiscard]] const std::string& path() const { return path_; } ///< /dev/loopN

private:
    LoopDevice(Fd device, std::string path) : device_{std::move(device)}, path_{std::move(path)} {}
    Fd device_; ///< keeps the device until the mount does
    std::string path_;
};

} // namespace coppice::os
