#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace coppice::vdisk {

/// One extended attribute. POSIX ACLs are the two attributes system.posix_acl_access and system.posix_acl_default, in
/// the form that getxattr(2) gives.
struct Xattr {
    std::string name; ///< with its prefix: "user.mime_type"
    std::string value;
    bool operator==(const Xattr&) const = default;
};

/// Whether a layer can hold attributes of this name: user.*, trusted.*, security.* and the two ACLs.
bool can_store_xattr(std::string_view name);

/// The attributes as a layer has them behind its header of 12 bytes: one set, one string, whatever the order given.
/// Errors: Unsupported (a name without place in the format), Invalid (twice the same), Unavailable (too long).
/// Source: docs/format/layer.md, "Extended attributes"
Result<std::string> encode_xattrs(std::vector<Xattr> attributes);

/// Back again. Input may be hostile. Errors: Corrupt (anything that encode_xattrs does not give)
Result<std::vector<Xattr>> decode_xattrs(std::string_view bytes);

inline constexpr std::string_view kOpaqueXattr = "trusted.overlay.opaque"; ///< value "y": hides lower directories
/// No layer has trusted attributes but kOpaqueXattr with "y" on a directory: they direct the kernel.
bool may_be_in_layer(const Xattr& attribute, std::uint32_t mode);

} // namespace coppice::vdisk
