#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace coppice::exports {

/// A POSIX ACL, in the form that getxattr(2) gives, as text with numeric ids: "user::rw-,user:1000:r--,group::r--,
/// mask::r--,other::---". Empty when it is none that the kernel would have made: reading the text would not give it
/// back. Source: the kernel's include/uapi/linux/posix_acl_xattr.h; acl(5), "SHORT TEXT FORM"
std::optional<std::string> print_acl(std::string_view attribute);

} // namespace coppice::exports
