#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace coppice {

namespace detail {
inline void append(std::string& out, std::string_view part) { out += part; }
inline void append(std::string& out, char part) { out += part; }
template <std::integral T>
    requires(!std::same_as<T, char>)
void append(std::string& out, T part)
{
    out += std::to_string(part);
}
} // namespace detail

/// Joins strings, characters and integers: for messages and paths, without the start-up cost of streams.
template <typename... Parts> std::string cat(const Parts&... parts)
{
    std::string out;
    (detail::append(out, parts), ...);
    return out;
}

/// Control characters as \n, \t or ?: what users and images named stays on its line and commands no terminal.
std::string printable(std::string_view text);

/// Takes the part up to the first `separator`, or all, off `text`, and the separator with it.
std::string_view next_part(std::string_view& text, char separator);
/// All parts, empty ones too: one more than there are separators.
std::vector<std::string_view> split(std::string_view text, char separator);
/// What stands between blanks.
std::vector<std::string_view> words_of(std::string_view text);

/// FNV-1a: for names, not against those who look for two texts with the same.
std::uint64_t hash_of(std::string_view text);

} // namespace coppice
