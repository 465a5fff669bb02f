#include "coppice/base/json_text.h"

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>

namespace coppice {

std::string json_text(const nlohmann::json& document, int indent)
{
    return document.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool is_utf8(std::string_view text)
{
    constexpr std::array<std::uint32_t, 4> kLeast{0, 0x80, 0x800, 0x10000}; // by number of bytes that follow
    for (std::size_t i = 0; i < text.size();) {
        const auto first = static_cast<unsigned char>(text[i++]);
        if (first < 0x80) continue;
        const std::size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
        if (first < 0xc2 || first > 0xf4 || text.size() - i < more) return false;
        std::uint32_t value = first & (0x3fU >> more);
        for (const std::size_t end = i + more; i < end; ++i) {
            const auto next = static_cast<unsigned char>(text[i]);
            if ((next & 0xc0U) != 0x80) return false;
            value = value << 6U | (next & 0x3fU);
        }
        if (value < kLeast.at(more) || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) return false;
    }
    return true;
}

} // namespace coppice
