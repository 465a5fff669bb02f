#pragma once

#include "coppice/os/fd.h"

#include <string>

namespace coppice::runtime {

/// Gives a container its root file system. Declared here and implemented by whoever knows where file systems come
/// from, so that the runtime knows nothing of images and layers.
class RootSource {
public:
    virtual ~RootSource() = default;
    /// A detached mount to become the container's root.
    /// @param user_namespace the container's, when it has a new one of its own; else not open. Files must then appear
    ///        with ids mapped by it.
    /// Called once per creation, in the creating process, outside the container. Errors: neither Gone nor EPIPE, by
    /// which a container is known that has died while it was set up.
    virtual Result<os::Fd> attach(const os::Fd& user_namespace) = 0;
};

/// `root.path` of an OCI bundle, as it is: its owner is whoever owns the files.
class BundleRoot final : public RootSource {
public:
    /// @param path absolute
    explicit BundleRoot(std::string path) : path_{std::move(path)} {}
    Result<os::Fd> attach(const os::Fd& user_namespace) override;

private:
    std::string path_;
};

} // namespace coppice::runtime
