#pragma once

#include "command.h"
#include "names.h"

#include <string>

/// `coppice cp` out of and into running instances. What touches their files is a visit: see instance::Visit.
namespace coppice::cli {

/// @param destination a path of ours, or "-": an archive on standard output. Errors: those of the visit, of packing
/// and of Unpacker
Result<> copy_out(const instance::InstanceStore& store, const PlaceName& place, const std::string& destination,
                  bool archive);

/// @param source a path of ours, or "-": an archive on standard input, for a directory that is there
Result<> copy_in(const instance::InstanceStore& store, const std::string& source, const PlaceName& place, bool archive);

} // namespace coppice::cli
