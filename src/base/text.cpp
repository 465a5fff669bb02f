#include "coppice/base/text.h"

namespace coppice {

namespace {

/// U+0080 to U+009F in UTF-8: terminals take them for what stands behind an escape character.
bool is_second_control(std::string_view two)
{
    return two.size() == 2 && two[0] == '\xc2' && static_cast<unsigned char>(two[1]) < 0xa0;
}

} // namespace

std::string printable(std::string_view text)
{
    std::string line;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (is_second_control(text.substr(i, 2))) {
            line += '?';
            ++i;
        } else if (c == '\n')
            line += "\\n";
        else if (c == '\t')
            line += "\\t";
        else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            line += '?';
        else
            line += c;
    }
    return line;
}

std::string_view next_part(std::string_view& text, char separator)
{
    const auto end = text.find(separator);
    const auto part = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    return part;
}

std::vector<std::string_view> split(std::string_view text, char separator)
{
    std::vector<std::string_view> parts;
    for (;;) {
        const bool last = text.find(separator) == std::string_view::npos;
        parts.push_back(next_part(text, separator));
        if (last) return parts;
    }
}

std::vector<std::string_view> words_of(std::string_view text)
{
    auto words = split(text, ' ');
    std::erase(words, std::string_view{});
    return words;
}

std::uint64_t hash_of(std::string_view text)
{
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : text)
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return hash;
}

} // namespace coppice
