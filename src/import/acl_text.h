#pragma once

#include "coppice/base/result.h"

#include <string>
#include <string_view>

namespace coppice::imports {

/// A POSIX ACL in its text form, as tar archives have it ("user::rwx,user:1000:r-x,group::r-x,mask::rwx,other::r--",
/// also separated by newlines, also with the number as a fourth field), in the form of the extended attribute.
/// Source: acl(5), the kernel's include/uapi/linux/posix_acl_xattr.h
/// Errors: Corrupt; Unsupported (a user or group without its number)
Result<std::string> parse_acl_text(std::string_view text);
inline constexpr std::size_t kLeastAclBytes = 4 + 3 * 8; ///< of one that says no more than a mode does

} // namespace coppice::imports
