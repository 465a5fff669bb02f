#pragma once

#include "coppice/base/result.h"
#include "paint.h"

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

/// What differs between two snapshots, as text. Pure.
namespace coppice::cli {

struct FileChange {
    enum class Kind : unsigned char { Added, Removed, Content, Attributes, Type };
    Kind kind = Kind::Content;
    std::string path;                         ///< from the root, without a slash in front
    std::uint32_t old_mode = 0, new_mode = 0; ///< st_mode; 0: not there
    std::uint64_t old_bytes = 0, new_bytes = 0;
};
struct FileChanges {
    std::vector<FileChange> changes;
    bool truncated = false; ///< there are more than these; the counts are of all
    std::uint64_t added = 0, removed = 0, changed = 0, old_bytes = 0, new_bytes = 0;
};
/// Errors: Corrupt, naming the member
Result<FileChanges> parse_changes(const nlohmann::json& document);

/// A line each: letter (A D M, m for attributes, T for type), path, what changed.
std::string change_lines(const FileChanges& diff, const Paint& paint);

/// As `git diff --stat`, in bytes: by how much each file grew or shrank, with a bar.
/// @param columns that lines may have; 0: any
std::string stat_lines(const FileChanges& diff, std::size_t columns, const Paint& paint);

/// "2 added, 1 removed, 3 changed; 1.2 MiB -> 1.3 MiB"
std::string diff_summary(const FileChanges& diff);

/// A name as git's patches have it: in quotes, with escapes, when it holds quotes, backslashes or control characters.
std::string quoted_path(std::string_view path);

/// Lines in front of the hunks of one file, as git has them; of what is no regular file, one line that says what
/// happened and that no program takes for a patch.
std::string patch_header(const FileChange& change);
/// Whether there may be hunks: a regular file whose content came, went or changed.
bool has_hunks(const FileChange& change);
/// Names in the lines "---" and "+++".
std::string old_label(const FileChange& change);
std::string new_label(const FileChange& change);
/// As git sees it: no NUL among the first 8000 bytes.
bool is_text(std::string_view content);

} // namespace coppice::cli
