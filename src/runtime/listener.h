#pragma once

#include "channel.h"
#include "coppice/os/process.h"
#include "coppice/runtime/spec.h"
#include "coppice/runtime/state.h"

/// A system call filter may have somebody outside asked about a call (SCMP_ACT_NOTIFY). Whoever that is gets the
/// filter's descriptor together with the container's state. The process that installs the filter cannot send it: its
/// own calls are asked about from that moment on. So it announces the descriptor's number beforehand, and a process
/// outside, `start` or `exec`, takes the descriptor as soon as it exists.
/// Source: seccomp_unotify(2); config-linux.md "The Container Process State"
namespace coppice::runtime {

/// Outside: takes descriptor `number` from `process`, sends it to the listener of `seccomp`, and tells `peer` so.
/// Errors: NotFound, Conflict (nobody listens), Gone (the process has ended)
Result<> hand_over_listener(const os::Fd& process, const os::Message& announcement, const SeccompSpec& seccomp,
                            const StateRecord& record, pid_t pid, Status status, const Channel& peer);

/// Inside, before the filter is installed: says which number its descriptor is going to have.
Result<int> announce_listener(const Channel& peer);
/// Inside, behind it: waits until the descriptor has been handed over.
Result<> wait_for_hand_over(const Channel& peer);

} // namespace coppice::runtime
