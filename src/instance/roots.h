#pragma once

#include "coppice/os/id_map.h"
#include "coppice/runtime/root_source.h"
#include "coppice/vdisk/image.h"
#include "coppice/vdisk/working_layer.h"

namespace coppice::instance {

/// A directory or EROFS image below a working layer in the instance's own directory.
class LayeredRoot final : public runtime::RootSource {
public:
    LayeredRoot(vdisk::Image image, vdisk::WorkingLayer layer, os::UserMapping mapping,
                vdisk::WorkingLayer::Durability durability)
        : image_{std::move(image)}, layer_{layer}, mapping_{std::move(mapping)}, durability_{durability}
    {
    }
    Result<os::Fd> attach(const os::Fd& user_namespace) override;

private:
    vdisk::Image image_;
    vdisk::WorkingLayer layer_;
    os::UserMapping mapping_;
    vdisk::WorkingLayer::Durability durability_;
};

/// A branch of the store, which only the daemon mounts: so instances of one vdisk share the page cache of its layers.
class DaemonRoot final : public runtime::RootSource {
public:
    /// @param daemon borrowed; see protocol.h
    DaemonRoot(const os::Fd& daemon, std::uint32_t first_id) : daemon_{&daemon}, first_id_{first_id} {}
    /// Errors: those of the daemon; Unavailable (it has gone)
    Result<os::Fd> attach(const os::Fd& user_namespace) override;

private:
    const os::Fd* daemon_;
    std::uint32_t first_id_;
};

} // namespace coppice::instance
