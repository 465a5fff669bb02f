#include "coppice/import/acl_text.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace coppice::imports {

namespace {

constexpr std::uint16_t kUserOwner = 0x01, kUser = 0x02, kGroupOwner = 0x04, kGroup = 0x08, kMask = 0x10, kOther = 0x20;
constexpr std::uint32_t kVersion = 2, kNobody = 0xFFFFFFFF;
constexpr std::size_t kHeaderBytes = 4, kEntryBytes = 8;
constexpr std::size_t kEntriesMax = 8000; // below the 64 KiB of an attribute
/// In the kernel's order. Named users and groups have an id, and there may be several.
constexpr std::array<std::pair<std::uint16_t, std::string_view>, 6> kTags{{{kUserOwner, "user:"},
                                                                           {kUser, "user:"},
                                                                           {kGroupOwner, "group:"},
                                                                           {kGroup, "group:"},
                                                                           {kMask, "mask:"},
                                                                           {kOther, "other:"}}};

struct Entry {
    std::uint16_t tag, rights;
    std::uint32_t id;
};

std::unexpected<Error> bad(std::string_view entry)
{
    return fail(ErrorKind::Corrupt, cat("an access control list with the entry ", printable(entry)));
}

bool parse_id(std::string_view text, std::uint32_t& id)
{
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    return !text.empty() && error == std::errc{} && end == text.data() + text.size() && id != kNobody;
}

Result<Entry> parse_entry(std::string_view text)
{
    const auto fields = split(text, ':');
    // "mask:r-x" and "other:r-x" may leave the empty name out.
    if (fields.size() < 2 || fields.size() > 4) return bad(text);
    const bool short_form = fields.size() == 2;
    const auto kind = fields[0], name = short_form ? std::string_view{} : fields[1];
    const auto rights = fields[short_form ? 1 : 2];
    Entry entry{.tag = 0, .rights = 0, .id = kNobody};
    for (const char c : rights) {
        if (c == 'r')
            entry.rights |= 4U;
        else if (c == 'w')
            entry.rights |= 2U;
        else if (c == 'x')
            entry.rights |= 1U;
        else if (c != '-')
            return bad(text);
    }
    if (kind == "user" || kind == "u")
        entry.tag = name.empty() ? kUserOwner : kUser;
    else if (kind == "group" || kind == "g")
        entry.tag = name.empty() ? kGroupOwner : kGroup;
    else if ((kind == "mask" || kind == "m") && name.empty())
        entry.tag = kMask;
    else if ((kind == "other" || kind == "o") && name.empty())
        entry.tag = kOther;
    else
        return bad(text);
    if (!name.empty() && !(fields.size() == 4 && parse_id(fields[3], entry.id)) && !parse_id(name, entry.id))
        return fail(
            Error{ErrorKind::Unsupported, cat("an access control list names ", printable(name), " and not its number")}
                .hint("make the archive with --xattrs --xattrs-include='*', which keeps numbers"));
    return entry;
}

template <typename T> T get(std::string_view bytes, std::size_t at) // little-endian, as the machines we run on
{
    T value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
}

template <typename T> void put(std::string& out, T value)
{
    for (std::size_t i = 0; i < sizeof value; ++i)
        out += static_cast<char>(value >> (8 * i) & 0xFFU);
}

} // namespace

Result<std::string> parse_acl_text(std::string_view text)
{
    std::vector<Entry> entries;
    for (std::string_view rest = text; !rest.empty();) {
        const auto end = std::min(rest.find_first_of(",\n"), rest.size());
        auto one = rest.substr(0, end);
        rest.remove_prefix(std::min(rest.size(), end + 1));
        one = one.substr(0, one.find_first_of("# \t")); // "#effective:..." behind it
        if (one.empty()) continue;
        if (entries.size() == kEntriesMax) return fail(ErrorKind::Unavailable, "a very long access control list");
        entries.push_back(TRY(parse_entry(one)));
    }
    const auto order = [](const Entry& a, const Entry& b) { return a.tag != b.tag ? a.tag < b.tag : a.id < b.id; };
    std::sort(entries.begin(), entries.end(), order);
    const auto count = [&](std::uint16_t tag) {
        return std::count_if(entries.begin(), entries.end(), [&](const Entry& e) { return e.tag == tag; });
    };
    const bool named = count(kUser) + count(kGroup) > 0;
    if (count(kUserOwner) != 1 || count(kGroupOwner) != 1 || count(kOther) != 1 || count(kMask) > 1 ||
        (named && count(kMask) == 0))
        return fail(ErrorKind::Corrupt, "an access control list that is not whole");
    for (std::size_t i = 1; i < entries.size(); ++i)
        if (!order(entries[i - 1], entries[i])) return fail(ErrorKind::Corrupt, "an access control list with doubles");
    std::string out;
    put(out, kVersion);
    for (const Entry& entry : entries) {
        put(out, entry.tag);
        put(out, entry.rights);
        put(out, entry.id);
    }
    return out;
}

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
    constexpr unsigned kLeast = kUserOwner | kGroupOwner | kOther;
    if ((seen & kLeast) != kLeast || ((seen & (kUser | kGroup)) != 0 && (seen & kMask) == 0)) return {};
    return text;
}

} // namespace coppice::imports
