#include "pax.h"

#include "coppice/base/text.h"
#include "coppice/import/acl_text.h"

#include <algorithm>
#include <charconv>

namespace coppice::imports {

namespace {

std::unexpected<Error> bad_record() { return fail(ErrorKind::Corrupt, "a damaged extended header"); }

constexpr std::string_view kXattr = "SCHILY.xattr.";

/// GNU tar has %25 for "%" and %3D for "=", which would end the keyword.
std::string attribute_of(std::string_view keyword)
{
    std::string name;
    while (!keyword.empty()) {
        const bool percent = keyword.starts_with("%25"), equals = keyword.starts_with("%3D");
        name += percent ? '%' : equals ? '=' : keyword.front();
        keyword.remove_prefix(percent || equals ? 3 : 1);
    }
    return name;
}

} // namespace

Result<std::uint64_t> parse_decimal(std::string_view text, std::string_view what)
{
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc{} || end != text.data() + text.size() || value > INT64_MAX)
        return fail(ErrorKind::Corrupt, cat("an extended header with an impossible ", what));
    return value;
}

Result<> parse_pax(std::string_view text, PaxRecords& records)
{
    std::uint64_t offset = 0;
    bool has_offset = false;
    while (!text.empty()) {
        // "LENGTH KEYWORD=VALUE\n", the length being of all of it
        const auto blank = text.find(' ');
        if (blank == std::string_view::npos || blank > 10) return bad_record();
        const auto length = TRY(parse_decimal(text.substr(0, blank), "length"));
        if (length > text.size() || length < blank + 3 || text[length - 1] != '\n') return bad_record();
        const auto record = text.substr(blank + 1, length - blank - 2);
        text.remove_prefix(length);
        const auto equals = record.find('=');
        if (equals == std::string_view::npos || equals == 0) return bad_record();
        const auto keyword = record.substr(0, equals), value = record.substr(equals + 1);
        if (keyword == "GNU.sparse.offset") {
            offset = TRY(parse_decimal(value, "place of data"));
            has_offset = true;
        } else if (keyword == "GNU.sparse.numbytes") {
            if (!has_offset) return bad_record();
            const auto bytes = TRY(parse_decimal(value, "length of data"));
            records.parts.push_back({.offset = offset, .bytes = bytes});
            has_offset = false;
        } else {
            records.values.insert_or_assign(std::string{keyword}, std::string{value});
        }
    }
    return {};
}

Result<vdisk::FileTime> parse_pax_time(std::string_view text)
{
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    const auto dot = text.find('.');
    const auto seconds = TRY(parse_decimal(text.substr(0, dot), "time"));
    vdisk::FileTime time{.seconds = static_cast<std::int64_t>(seconds), .nanoseconds = 0};
    if (dot != std::string_view::npos) {
        std::uint32_t unit = 100'000'000;
        for (const char c : text.substr(dot + 1)) {
            if (c < '0' || c > '9') return fail(ErrorKind::Corrupt, "an extended header with an impossible time");
            time.nanoseconds += unit * static_cast<std::uint32_t>(c - '0');
            unit /= 10; // what is finer than nanoseconds is cut off
        }
    }
    if (!negative) return time;
    time.seconds = -time.seconds;
    if (time.nanoseconds > 0) {
        --time.seconds;
        time.nanoseconds = 1'000'000'000 - time.nanoseconds;
    }
    return time;
}

Result<std::vector<DataPart>> parse_sparse_list(std::string_view text)
{
    std::vector<DataPart> parts;
    while (!text.empty()) {
        DataPart part;
        part.offset = TRY(parse_decimal(next_part(text, ','), "place of data"));
        part.bytes = TRY(parse_decimal(next_part(text, ','), "length of data"));
        parts.push_back(part);
    }
    return parts;
}

const std::string* EffectiveRecords::find(std::string_view keyword) const
{
    for (const PaxRecords* const records : {&own, &global})
        if (const auto found = records->values.find(keyword); found != records->values.end())
            return found->second.empty() ? nullptr : &found->second;
    return nullptr;
}

Result<std::vector<vdisk::Xattr>> xattrs_of(const EffectiveRecords& records)
{
    // (LIBARCHIVE.xattr.* repeat what SCHILY.xattr.* say.)
    std::map<std::string, std::string> found;
    for (const PaxRecords* const some : {&records.global, &records.own})
        for (const auto& [keyword, value] : some->values) {
            if (keyword.starts_with(kXattr)) {
                const std::string name = attribute_of(keyword.substr(kXattr.size()));
                if (!name.starts_with("trusted.")) found[name] = value;
            } else if (keyword == "RHT.security.selinux") {
                found["security.selinux"] = value;
            }
        }
    for (const bool access : {true, false}) {
        const auto* const text = records.find(access ? "SCHILY.acl.access" : "SCHILY.acl.default");
        // The same in the kernel's form, which has no names of users, wins.
        const char* const name = access ? "system.posix_acl_access" : "system.posix_acl_default";
        if (text == nullptr || found.contains(name)) continue;
        // One that says no more than the mode is none.
        auto acl = TRY(parse_acl_text(*text));
        if (!access || acl.size() != kLeastAclBytes) found[name] = std::move(acl);
    }
    std::vector<vdisk::Xattr> xattrs;
    xattrs.reserve(found.size());
    for (auto& [name, value] : found)
        xattrs.push_back({.name = name, .value = std::move(value)});
    return xattrs;
}

} // namespace coppice::imports
