#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>

/// What users name on the line: versions, places inside snapshots, sources of imports.
namespace coppice::cli {

/// "debian:3"
struct VersionName {
    std::string vdisk;
    std::uint64_t number = 0;
};
/// Errors: Invalid (no colon, no name, no whole number from 1 on behind it)
Result<VersionName> parse_version_name(std::string_view text);

/// "debian:3:/etc/passwd": a reference, a colon, a path from the root. References have no slash, so the first ":/" is
/// the place between them. Errors: Invalid
struct PlaceName {
    std::string reference, path;
};
Result<PlaceName> parse_place(std::string_view text);

/// `path` from `directory` on, without ".", ".." and doubled slashes; links are not looked at.
std::string absolute_path(std::string_view path, std::string_view directory);
/// The same from the working directory on, links resolved where all of it exists. Errors: Os (no working directory)
Result<std::string> absolute_here(const std::string& path);

/// A source of an import with its path made absolute, since the daemon works elsewhere; what has no path stays as it
/// is: dir:PATH tar:PATH oci:PATH docker-archive:PATH disk:PATH PATH, but docker://… debian:… ubuntu:… machine:
/// ssh://…. Errors: Invalid (empty, no path behind the prefix)
Result<std::string> absolute_source(std::string_view source, std::string_view directory);
Result<std::string> working_directory();

// Paths of resources.
std::string vdisk_target(std::string_view name);
std::string version_target(const VersionName& version);
std::string snapshot_target(std::string_view reference);
std::string branch_target(std::string_view name);

// Checks for CLI11: what is wrong with a value, empty when nothing is.
std::string check_version_name(const std::string& text);
std::string check_place(const std::string& text);
std::string check_duration(const std::string& text);
std::string check_not_empty(const std::string& text);

} // namespace coppice::cli
