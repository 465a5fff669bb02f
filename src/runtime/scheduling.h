#pragma once

#include "coppice/runtime/spec.h"

namespace coppice::runtime {

/// How the calling process, and what it executes, is scheduled and how its system calls look: scheduler, input and
/// output priority, execution domain. What is not asked for costs nothing. Errors: Denied (rights, real-time budget)
Result<> apply_scheduling(const ProcessSpec& process, const LinuxSpec& spec);

/// Binds the calling process to CPUs; an empty mask leaves it as it is. @param member for the message
Result<> set_affinity(const CpuMask& cpus, const char* member);

} // namespace coppice::runtime
