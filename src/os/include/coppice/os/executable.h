#pragma once

#include "coppice/base/result.h"

#include <string>

namespace coppice::os {

/// Makes sure that this program's file cannot be written through /proc/PID/exe, which processes of a container that it
/// enters can reach (CVE-2019-5736): unless its mount is read-only already, the program executes itself again from a
/// read-only, detached copy of that mount, or from a sealed copy in memory where it may not mount, and does not return.
/// Call it first thing in main, with main's arguments.
Result<> protect_own_executable(char* const* argv, char* const* envp);

/// Executes another program of ours with that protection in place from its first instruction. Returns only with an
/// error.
Result<> execute_protected(const std::string& path, char* const* argv, char* const* envp);

/// Path of a program that belongs to this one: in the same directory (a build tree), or in ../libexec/coppice (an
/// installation). Errors: NotFound
Result<std::string> find_companion(const std::string& name);

} // namespace coppice::os
