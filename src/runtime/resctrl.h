#pragma once

#include "coppice/runtime/spec.h"

#include <string>
#include <sys/types.h>

/// Classes of service of cache and memory bandwidth. Source: Documentation/arch/x86/resctrl.rst; config-linux.md
/// "IntelRdt"
namespace coppice::runtime {

/// Makes the container's class of service, or finds the one it names, and puts its init there; processes that come
/// later inherit it. Errors: Unsupported (no resctrl), NotFound, Invalid (the kernel refuses the schemata)
Result<> join_resctrl(const IntelRdt& wanted, const std::string& id, pid_t pid);

/// The directory below the mount point that is made for the container alone, to be removed with it; empty: none.
std::string own_resctrl_group(const IntelRdt& wanted, const std::string& id);
/// Removes that directory. Absence is fine, of resctrl as a whole, too.
Result<> remove_resctrl_group(const std::string& group);

} // namespace coppice::runtime
