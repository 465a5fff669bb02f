#pragma once

#include "coppice/base/result.h"

#include <string>
#include <string_view>

namespace coppice::security {

/// RFC 4648, section 4: with padding, without line breaks.
std::string encode_base64(std::string_view data);
/// Only the canonical form, so that one content has one text. Errors: Invalid
Result<std::string> decode_base64(std::string_view text);

} // namespace coppice::security
