#pragma once

#include "coppice/os/fd.h"
#include "coppice/os/process.h"
#include "coppice/runtime/state.h"

namespace coppice::runtime {

/// A second process that undoes a creation whose creator dies half-way, by SIGKILL too. It sits in a read on a pipe
/// that only the creator holds open: the end of the pipe without the word "done" is the creator's death.
class [[nodiscard]] CreationGuard {
public:
    /// @param record what is going to be made; nothing of it exists yet
    static Result<CreationGuard> begin(const StateRoot& root, const StateRecord& record);

    /// The creation is complete, or has been undone by the creator itself: the guard goes without doing anything.
    void release();
    /// In children of the creator: they must not keep the pipe open.
    void forget_in_child();

private:
    CreationGuard(os::Process process, os::Fd pipe) : process_{std::move(process)}, pipe_{std::move(pipe)} {}
    os::Process process_;
    os::Fd pipe_;
};

} // namespace coppice::runtime
