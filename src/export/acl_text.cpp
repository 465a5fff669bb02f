#include "acl_text.h"

#include "coppice/base/text.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <utility>

namespace coppice::exports {

namespace {

constexpr std::size_t kHeaderBytes = 4, kEntryBytes = 8;
constexpr std::uint32_t kVersion = 2, kNobody = 0xFFFFFFFF;
constexpr std::uint16_t kUser = 0x02, kGroup = 0x08, kMask = 0x10;
/// In the kernel's order. Named users and groups have an id, and there may be several.
constexpr std::array<std::pair<std::uint16_t, std::string_view>, 6> kTags{
    {{0x01, "user:"}, {kUser, "user:"}, {0x04, "group:"}, {kGroup, "group:"}, {kMask, "mask:"}, {0x20, "other:"}}};

template <typename T> T get(std::string_view bytes, std::size_t at)
{
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

} // namespace

std::optional<std::string> print_acl(std::string_view attribute)
{
    if (attribute.size() < kHeaderBytes || (attribute.size() - kHeaderBytes) % kEntryBytes != 0 ||
        get<std::uint32_t>(attribute, 0) != kVersion)
        return {};
    std::string text;
    unsigned seen = 0;
    std::pair<std::uint16_t, std::uint32_t> last{};
    for (std::size_t at = kHeaderBytes; at < attribute.size(); at += kEntryBytes) {
        const auto tag = get<std::uint16_t>(attribute, at), rights = get<std::uint16_t>(attribute, at + 2);
        const auto id = get<std::uint32_t>(attribute, at + 4);
        const bool named = tag == kUser || tag == kGroup;
        std::string_view word;
        for (const auto& [known, its_word] : kTags)
            if (known == tag) word = its_word;
        const std::pair order{tag, named ? id : 0};
        if (word.empty() || rights > 7 || (id == kNobody) == named || order <= last) return {};
        last = order;
        seen |= tag;
        text += cat(text.empty() ? "" : ",", word, named ? std::to_string(id) : "", ":", rights & 4U ? 'r' : '-',
                    rights & 2U ? 'w' : '-', rights & 1U ? 'x' : '-');
    }
    constexpr unsigned kLeast = 0x25; // owner, group, other
    if ((seen & kLeast) != kLeast || ((seen & (kUser | kGroup)) != 0 && (seen & kMask) == 0)) return {};
    return text;
}

} // namespace coppice::exports
