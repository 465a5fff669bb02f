#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace coppice {

/// A document as text, on one line or indented. Bytes that are not UTF-8 become U+FFFD: the library's own `dump` ends
/// the process at the first of them, and file names, messages and damaged rows may hold any.
std::string json_text(const nlohmann::json& document, int indent = -1);

/// Whether JSON can carry a text as it is. Source: RFC 3629
bool is_utf8(std::string_view text);

} // namespace coppice
