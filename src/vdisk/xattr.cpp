#include "coppice/vdisk/xattr.h"

#include "coppice/base/text.h"
#include "erofs_format.h"

#include <algorithm>
#include <array>
#include <optional>
#include <sys/stat.h>

namespace coppice::vdisk {

namespace {

struct Prefix {
    std::string_view text;
    std::uint8_t index;
    bool whole; ///< the prefix is the whole name
};
constexpr std::array<Prefix, 5> kPrefixes{{{"user.", 1, false},
                                           {"system.posix_acl_access", 2, true},
                                           {"system.posix_acl_default", 3, true},
                                           {"trusted.", 4, false},
                                           {"security.", 6, false}}};
constexpr std::size_t kMostNameBytes = 255;
constexpr std::size_t kMostValueBytes = 65535;

const Prefix* find_prefix(std::string_view name)
{
    for (const Prefix& prefix : kPrefixes)
        if (prefix.whole ? name == prefix.text : name.starts_with(prefix.text) && name.size() > prefix.text.size())
            return &prefix;
    return nullptr;
}

Result<> append_entry(std::string& out, const Xattr& attribute)
{
    const Prefix* const prefix = find_prefix(attribute.name);
    const std::string shown = printable(attribute.name);
    if (prefix == nullptr || attribute.name.find('\0') != std::string::npos)
        return fail(Error{ErrorKind::Unsupported, cat("a layer cannot hold the extended attribute ", shown)}.hint(
            "remove it with setfattr -x"));
    if (attribute.name.size() > kMostNameBytes || attribute.value.size() > kMostValueBytes)
        return fail(ErrorKind::Unavailable, cat("the extended attribute ", shown, " is longer than a layer can hold (",
                                                kMostValueBytes, " bytes)"));
    const auto name = std::string_view{attribute.name}.substr(prefix->text.size());
    put<std::uint8_t>(out, static_cast<std::uint8_t>(name.size()));
    put<std::uint8_t>(out, prefix->index);
    put<std::uint16_t>(out, static_cast<std::uint16_t>(attribute.value.size()));
    out += name;
    out += attribute.value;
    out.resize(round_up(out.size(), 4));
    return {};
}

/// Takes the first entry off `rest`.
std::optional<Xattr> take_entry(std::string_view& rest)
{
    if (rest.size() < 4) return {};
    const std::size_t name_bytes = get<std::uint8_t>(rest, 0), value_bytes = get<std::uint16_t>(rest, 2);
    const auto index = get<std::uint8_t>(rest, 1);
    const std::size_t bytes = 4 + name_bytes + value_bytes;
    const auto prefix = std::find_if(kPrefixes.begin(), kPrefixes.end(), [&](auto& p) { return p.index == index; });
    if (prefix == kPrefixes.end() || prefix->whole != (name_bytes == 0) || round_up(bytes, 4) > rest.size()) return {};
    Xattr attribute{.name = cat(prefix->text, rest.substr(4, name_bytes)),
                    .value = std::string{rest.substr(4 + name_bytes, value_bytes)}};
    if (attribute.name.size() > kMostNameBytes || attribute.name.find('\0') != std::string::npos) return {};
    for (std::size_t i = bytes; i < round_up(bytes, 4); ++i)
        if (rest[i] != '\0') return {};
    rest.remove_prefix(round_up(bytes, 4));
    return attribute;
}

} // namespace

bool can_store_xattr(std::string_view name) { return find_prefix(name) != nullptr; }

bool may_be_in_layer(const Xattr& attribute, std::uint32_t mode)
{
    if (!attribute.name.starts_with("trusted.")) return true;
    return attribute.name == kOpaqueXattr && attribute.value == "y" && S_ISDIR(mode);
}

Result<std::string> encode_xattrs(std::vector<Xattr> attributes)
{
    std::sort(attributes.begin(), attributes.end(), [](auto& a, auto& b) { return a.name < b.name; });
    std::string out;
    for (std::size_t i = 0; i < attributes.size(); ++i) {
        if (i > 0 && attributes[i].name == attributes[i - 1].name)
            return fail(ErrorKind::Invalid, cat("twice the extended attribute ", printable(attributes[i].name)));
        TRY(append_entry(out, attributes[i]));
        if (out.size() > kMostXattrBytes)
            return fail(ErrorKind::Unavailable, cat("more than ", kMostXattrBytes, " bytes of extended attributes"));
    }
    return out;
}

Result<std::vector<Xattr>> decode_xattrs(std::string_view bytes)
{
    std::vector<Xattr> attributes;
    while (!bytes.empty()) {
        auto attribute = take_entry(bytes);
        if (!attribute || (!attributes.empty() && attribute->name <= attributes.back().name))
            return fail(ErrorKind::Corrupt, "damaged extended attributes");
        attributes.push_back(*std::move(attribute));
    }
    return attributes;
}

} // namespace coppice::vdisk
