#pragma once

#include "coppice/vdisk/tree.h"

#include <string>

/// What is in a snapshot of the test follows from its seed.
namespace coppice::power {

/// Writes the seed's files into a directory, and one that each seed overwrites.
void write_files(const std::string& directory, std::uint64_t seed);
/// Much of no meaning, so that there is always something unwritten.
void write_junk(const std::string& directory, std::uint64_t seed);
/// @returns what is wrong, or nothing. @param whole the merged tree of a snapshot with this seed
std::string compare_files(const vdisk::Tree& whole, std::uint64_t seed);

} // namespace coppice::power
