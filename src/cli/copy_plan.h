#pragma once

#include "coppice/base/result.h"

#include <optional>
#include <string>
#include <string_view>

/// How `coppice cp` lands on the disk: the rules of `docker cp`. Pure.
namespace coppice::cli {

enum class CopiedKind : unsigned char { File, Directory };

/// Looks at the beginning of a tar archive for what its first entry is, past extended headers. Empty: more bytes are
/// needed. Errors: Corrupt (no tar archive, or headers without an end)
Result<std::optional<CopiedKind>> first_entry(std::string_view beginning);

/// What is at the destination now.
enum class Present : unsigned char { Nothing, File, Directory };

/// Into: below the destination, under its own name. Contents: what is in it, below the destination.
/// As: under the destination's name, which something new gets or a file's takes over.
enum class Landing : unsigned char { Into, Contents, As };

struct CopySource {
    std::string path; ///< absolute, without a slash at its end
    bool contents_only = false;
};
/// "/etc/." is what is in /etc; so is "/".
CopySource copy_source(std::string_view path);

/// @param destination as the user wrote it. Errors: Conflict (a directory onto a file), NotFound (a file into "new/")
Result<Landing> landing_of(CopiedKind kind, bool contents_only, Present present, std::string_view destination);

} // namespace coppice::cli
