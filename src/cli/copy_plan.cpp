#include "copy_plan.h"

#include "coppice/base/text.h"
#include "names.h"

#include <charconv>

namespace coppice::cli {

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kMostBeginning = 1U << 20; // of extended headers

/// An octal number field, which ends at a blank or a NUL.
std::optional<std::uint64_t> octal_field(std::string_view field)
{
    while (field.starts_with(' '))
        field.remove_prefix(1);
    std::uint64_t value = 0;
    const auto [end, failed] = std::from_chars(field.data(), field.data() + field.size(), value, 8);
    const bool ends_well = end == field.data() + field.size() || *end == ' ' || *end == '\0';
    if (failed != std::errc{} || !ends_well) return {};
    return value;
}

/// Headers that only describe the next one: pax records, global ones, GNU's long names.
bool is_extended(char type) { return type == 'x' || type == 'g' || type == 'L' || type == 'K'; }

} // namespace

Result<std::optional<CopiedKind>> first_entry(std::string_view beginning)
{
    for (std::size_t at = 0;;) {
        if (at > kMostBeginning) return fail(ErrorKind::Corrupt, "the archive begins with headers that never end");
        if (beginning.size() < at + kBlock) return std::optional<CopiedKind>{};
        const auto header = beginning.substr(at, kBlock);
        constexpr std::size_t kMagic = 257, kType = 156, kSize = 124, kSizeDigits = 12;
        if (header.substr(kMagic, 5) != "ustar")
            return fail(ErrorKind::Corrupt, "the answer of coppiced is no tar archive");
        const char type = header[kType];
        if (!is_extended(type)) return std::optional{type == '5' ? CopiedKind::Directory : CopiedKind::File};
        const auto size = octal_field(header.substr(kSize, kSizeDigits));
        if (!size || *size > kMostBeginning)
            return fail(ErrorKind::Corrupt, "the archive has a header of no sensible size");
        at += kBlock + (*size + kBlock - 1) / kBlock * kBlock;
    }
}

CopySource copy_source(std::string_view path)
{
    CopySource source{.path = absolute_path(path, "")};
    source.contents_only = source.path == "/" || path.ends_with("/.");
    return source;
}

Result<Landing> landing_of(CopiedKind kind, bool contents_only, Present present, std::string_view destination)
{
    if (kind == CopiedKind::Directory && present == Present::File)
        return fail(ErrorKind::Conflict, cat("cannot copy a directory onto the file ", destination));
    if (kind == CopiedKind::File && present == Present::Nothing && destination.ends_with('/'))
        return fail(ErrorKind::NotFound, cat("there is no directory ", destination));
    if (present != Present::Directory) return Landing::As;
    return kind == CopiedKind::Directory && contents_only ? Landing::Contents : Landing::Into;
}

} // namespace coppice::cli
