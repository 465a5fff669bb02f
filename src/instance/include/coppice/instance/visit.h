#pragma once

#include "coppice/instance/store.h"
#include "coppice/os/process.h"

#include <functional>
#include <string>

namespace coppice::instance {

/// A child of ours that works on the files of a running instance as the instance's own root would: in its mount and
/// user namespaces, with the rights over files that root has there, and nothing of the host's within reach. What is
/// inside cannot see it: it stays in our pid namespace. Ends with us, and is killed when the object goes.
class Visit {
public:
    /// Single-threaded callers. @param keep descriptors that `body` needs
    /// @param body what the child does; its working directory is the instance's root
    /// Errors: NotFound, Conflict (it does not run)
    static Result<Visit> begin(const InstanceStore& store, const std::string& name, std::vector<int> keep,
                               const std::function<Result<>()>& body);
    /// Waits for the end. Errors: those of entering and of `body`
    Result<> finish();

private:
    Visit(os::Process child, os::Fd answer) : child_{std::move(child)}, answer_{std::move(answer)} {}
    os::Process child_;
    os::Fd answer_;
};

} // namespace coppice::instance
