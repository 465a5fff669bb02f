#pragma once

#include "coppice/instance/config.h"
#include "coppice/os/id_map.h"

#include <cstdint>
#include <string>
#include <vector>

namespace coppice::instance {

/// A device as it is on the host now, and the node that becomes the instance's.
struct DeviceNode {
    std::string source;      ///< host path of the node to bind
    std::string destination; ///< absolute path inside
    char type = 'c';         ///< 'c' or 'b'
    std::uint32_t major = 0, minor = 0;
    std::string access; ///< of "rwm"
};

/// Nodes for the devices of an instance, on a file system in memory of their own. The host's own nodes would not do:
/// inside, their owner is nobody that the instance knows, so that only those open to everybody could be used. These
/// have the same numbers and mode, and the same owner as the instance counts.
///
/// They can be bound as long as this object lives. Needs a mount namespace of the caller's own, which takes them along
/// when it ends.
class [[nodiscard]] DeviceNodes {
public:
    /// @param directory where to mount them; made and removed again. Untouched when there are no devices
    /// Errors: NotFound (a device is gone), Conflict (it is none any more), or as the kernel says
    static Result<DeviceNodes> make(std::string directory, const std::vector<Device>& devices,
                                    const os::UserMapping& mapping);

    [[nodiscard]] const std::vector<DeviceNode>& nodes() const { return nodes_; }

    DeviceNodes(DeviceNodes&& other) noexcept;
    DeviceNodes& operator=(DeviceNodes&&) = delete;
    ~DeviceNodes();

private:
    DeviceNodes() = default;

    std::string mounted_at_; ///< empty: nowhere
    std::vector<DeviceNode> nodes_;
};

} // namespace coppice::instance
