#pragma once

#include "coppice/instance/store.h"

#include <string>

/// A halt of a moment, by the daemon for its own purposes: nobody is told that the instance is paused. It is noted in
/// the instance's directory before it begins, so that whoever comes after a killed daemon can end it.
namespace coppice::instance {

/// File in an instance's directory, from before it is halted until it has gone on.
inline constexpr const char* kHaltedMark = "halted";

/// One at a time halts an instance, pauses it, or has it go on: waits for the others, and ends what a killed one was
/// at. Errors: NotFound
Result<os::FileLock> take_turn(const InstanceStore& store, const std::string& name);

bool is_halted(const InstanceStore& store, const std::string& name);
/// Errors: Conflict (does not run, is paused), Unavailable (a process cannot be halted); then it goes on
Result<> halt(const InstanceStore& store, const std::string& name);
/// One that is not halted, that has ended or gone is fine.
Result<> end_halt(const InstanceStore& store, const std::string& name);

} // namespace coppice::instance
