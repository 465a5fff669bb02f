#pragma once

#include "coppice/instance/store.h"

#include <optional>
#include <string>

/// Another name for an instance's directory, in steps that can be finished after a kill.
namespace coppice::instance {

/// Notes in the directory that the instance is to be renamed; on the disk when it returns. The caller holds it.
Result<> note_rename(const os::Fd& directory, const std::string& to);
/// The new name, if it is being renamed. Errors: NotFound
Result<std::optional<std::string>> find_rename(const InstanceStore& store, const std::string& name);
/// Forgets the note: it keeps the name that it has.
Result<> drop_rename(const InstanceStore& store, const std::string& name);
/// Gives directory and description the noted name, however far somebody came with that, and forgets the note.
/// Inside, the host keeps the name that it had when it ran. Errors: Conflict (the name is taken; nothing was done)
Result<> carry_out_rename(const InstanceStore& store, const std::string& name, const std::string& to);

} // namespace coppice::instance
