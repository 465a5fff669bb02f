#include "names.h"

#include "coppice/api/client.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <unistd.h>
#include <vector>

namespace coppice::cli {

namespace {

template <typename T> std::string complaint_of(const Result<T>& result)
{
    return result ? std::string{} : result.error().message();
}

/// What a link led to, or the working directory's name.
Result<std::string> checked_text(std::string path)
{
    if (is_utf8(path)) return path;
    return fail(Error{ErrorKind::Invalid, cat("the path ", printable(path), " is not UTF-8")}.hint("use another one"));
}

} // namespace

Result<VersionName> parse_version_name(std::string_view text)
{
    const auto colon = text.find(':');
    const auto number = colon == std::string_view::npos || colon == 0
                            ? Result<std::int64_t>{fail(ErrorKind::Invalid, "")}
                            : parse_integer(text.substr(colon + 1), 1, INT64_MAX);
    if (!number) return fail(ErrorKind::Invalid, cat('\'', text, "' is no VDISK:NUMBER, as in debian:3"));
    return VersionName{std::string{text.substr(0, colon)}, static_cast<std::uint64_t>(*number)};
}

Result<PlaceName> parse_place(std::string_view text)
{
    const auto between = text.find(":/");
    if (between == std::string_view::npos || between == 0 || text.find('/') < between)
        return fail(ErrorKind::Invalid, cat('\'', text, "' is no REF:/PATH, as in debian:3:/etc/passwd"));
    return PlaceName{std::string{text.substr(0, between)}, std::string{text.substr(between + 1)}};
}

std::string absolute_path(std::string_view path, std::string_view directory)
{
    const std::string all = path.starts_with('/') ? std::string{path} : cat(directory, '/', path);
    std::vector<std::string_view> parts;
    for (const std::string_view part : split(all, '/')) {
        if (part == ".." && !parts.empty())
            parts.pop_back();
        else if (!part.empty() && part != "." && part != "..")
            parts.push_back(part);
    }
    std::string absolute;
    for (const std::string_view part : parts)
        absolute += cat('/', part);
    return absolute.empty() ? "/" : absolute;
}

Result<std::string> working_directory()
{
    std::array<char, PATH_MAX> here{};
    if (::getcwd(here.data(), here.size()) == nullptr) return fail_os(errno, "find the working directory");
    return checked_text(here.data());
}

Result<std::string> absolute_here(const std::string& path)
{
    const std::unique_ptr<char, decltype(&std::free)> real{::realpath(path.c_str(), nullptr), &std::free};
    if (real != nullptr) return checked_text(real.get());
    return absolute_path(path, path.starts_with('/') ? "" : TRY(working_directory()));
}

Result<std::string> absolute_source(std::string_view source, std::string_view directory)
{
    for (const std::string_view other : {"docker://", "ssh://", "debian:", "ubuntu:"})
        if (source.starts_with(other)) return std::string{source};
    if (source == "machine:") return std::string{source};
    std::string_view prefix;
    for (const std::string_view kind : {"dir:", "tar:", "oci:", "docker-archive:", "disk:"})
        if (source.starts_with(kind)) prefix = kind;
    const auto path = source.substr(prefix.size());
    if (path.empty()) return fail(ErrorKind::Invalid, cat('\'', source, "' names no file or directory"));
    if (path.starts_with('/')) return std::string{source};
    return cat(prefix, absolute_path(path, directory));
}

std::string vdisk_target(std::string_view name) { return cat("/v1/vdisks/", api::encode_segment(name)); }

std::string version_target(const VersionName& version)
{
    return cat(vdisk_target(version.vdisk), "/versions/", version.number);
}

std::string snapshot_target(std::string_view reference)
{
    return cat("/v1/snapshots/", api::encode_segment(reference));
}

std::string branch_target(std::string_view name) { return cat("/v1/branches/", api::encode_segment(name)); }

std::string check_version_name(const std::string& text) { return complaint_of(parse_version_name(text)); }
std::string check_place(const std::string& text) { return complaint_of(parse_place(text)); }
std::string check_duration(const std::string& text) { return complaint_of(parse_duration_ms(text)); }
std::string check_not_empty(const std::string& text) { return text.empty() ? "the name is empty" : ""; }

} // namespace coppice::cli
