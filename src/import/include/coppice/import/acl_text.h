#pragma once

#include "coppice/base/result.h"

#include <optional>
#include <string>
#include <string_view>

/// POSIX ACLs in their text form and in that of the extended attributes system.posix_acl_*.
/// Source: acl(5), the kernel's include/uapi/linux/posix_acl_xattr.h
namespace coppice::imports {

/// The attribute of a text, as tar archives have it ("user::rwx,user:1000:r-x,group::r-x,mask::rwx,other::r--", also
/// separated by newlines, also with the number as a fourth field). Input is hostile.
/// Errors: Corrupt; Unsupported (a user or group without its number); Unavailable (very long)
Result<std::string> parse_acl_text(std::string_view text);
inline constexpr std::size_t kLeastAclBytes = 4 + 3 * 8; ///< of one that says no more than a mode does

/// The text of an attribute as getxattr(2) gives it, with numeric ids. Empty when it is none that the kernel would have
/// made: reading the text would not give it back.
std::optional<std::string> print_acl(std::string_view attribute);

} // namespace coppice::imports
