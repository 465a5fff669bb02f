#include "tar_reader.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <sys/stat.h>

namespace coppice::imports {

namespace {

constexpr std::size_t kPartsMax = 1U << 20, kGlobalRecordsMax = 1024;

std::uint64_t padding_of(std::uint64_t bytes) { return (kTarBlockBytes - bytes % kTarBlockBytes) % kTarBlockBytes; }

std::unexpected<Error> cut_short() { return fail(ErrorKind::Corrupt, "the archive is cut short"); }

Result<std::uint32_t> id_of(std::uint64_t value)
{
    if (value >= UINT32_MAX) return fail(ErrorKind::Corrupt, cat("the impossible owner ", value));
    return static_cast<std::uint32_t>(value);
}

Result<std::uint32_t> type_of(const TarHeader& header)
{
    switch (header.type) {
    case '0':
    case '7': return header.path.ends_with('/') ? S_IFDIR : S_IFREG; // V7 has no type for directories
    case '1':
    case 'S': return S_IFREG;
    case '2': return S_IFLNK;
    case '3': return S_IFCHR;
    case '4': return S_IFBLK;
    case '5':
    case 'D': return S_IFDIR;
    case '6': return S_IFIFO;
    default:
        return fail(ErrorKind::Unsupported, cat("an entry of the type '", printable(std::string{header.type}), "'"));
    }
}

} // namespace

/// False at the end of the input.
Result<bool> TarReader::read_block(std::span<char> block)
{
    const std::size_t got = TRY(read_full(*input_, block));
    position_ += got;
    if (got == 0) return false;
    if (got < block.size()) return cut_short();
    return true;
}

/// The content of an extended header. @param counted bytes of those before it that it counts together with
Result<std::string> TarReader::read_long(std::uint64_t bytes, std::uint64_t& counted)
{
    if (counted > limits_.header_bytes || bytes > limits_.header_bytes - counted)
        return fail(ErrorKind::Unavailable, cat("extended headers of ", counted, " and ", bytes, " bytes; at most ",
                                                limits_.header_bytes, " are taken"));
    counted += bytes + kTarBlockBytes;
    std::string text(bytes + padding_of(bytes), '\0');
    if (text.empty()) return text;
    if (!TRY(read_block(text))) return cut_short();
    text.resize(bytes);
    return text;
}

Result<std::size_t> TarReader::read(std::span<char> out)
{
    if (left_ == 0) return 0;
    const std::size_t got = TRY(input_->read(out.subspan(0, std::min<std::uint64_t>(out.size(), left_))));
    if (got == 0) return cut_short();
    position_ += got;
    left_ -= got;
    return got;
}

/// The header of an entry, with the long names and records that come before it.
Result<std::optional<TarHeader>> TarReader::next_header()
{
    std::string long_path, long_target;
    records_ = {};
    std::uint64_t own_bytes = 0;
    bool begun = false;
    for (;;) {
        std::array<char, kTarBlockBytes> bytes{};
        const std::string_view block{bytes.data(), bytes.size()};
        const bool there = TRY(read_block(bytes));
        if (!there || is_zero_block(block)) {
            if (begun || (!there && end_ == End::Marked)) return cut_short();
            return std::optional<TarHeader>{}; // what is behind the end mark is nobody's
        }
        auto header = TRY(parse_tar_header(block));
        if (header.type == 'x' || header.type == 'X') {
            TRY(parse_pax(TRY(read_long(header.size, own_bytes)), records_));
        } else if (header.type == 'g') {
            TRY(parse_pax(TRY(read_long(header.size, global_bytes_)), global_));
            if (global_.values.size() > kGlobalRecordsMax)
                return fail(ErrorKind::Unavailable, "too many global records"); // each entry looks at all of them
        } else if (header.type == 'L' || header.type == 'K') {
            auto text = TRY(read_long(header.size, own_bytes));
            text.resize(std::min(text.find('\0'), text.size()));
            (header.type == 'L' ? long_path : long_target) = std::move(text);
        } else if (header.type == 'V') { // the archive's label
            const auto bytes_of_label = header.size + padding_of(header.size);
            TRY(input_->skip(bytes_of_label));
            position_ += bytes_of_label;
            continue;
        } else {
            if (!long_path.empty()) header.path = std::move(long_path);
            if (!long_target.empty()) header.target = std::move(long_target);
            return header;
        }
        begun = true;
    }
}

Result<> TarReader::apply_records(TarHeader& header, TarEntry& entry) const
{
    const auto said = records();
    if (const auto* path = said.find("path")) header.path = *path;
    if (const auto* path = said.find("GNU.sparse.name")) header.path = *path;
    if (const auto* target = said.find("linkpath")) header.target = *target;
    if (const auto* size = said.find("size")) header.size = TRY(parse_decimal(*size, "size"));
    if (const auto* uid = said.find("uid")) header.uid = TRY(parse_decimal(*uid, "owner"));
    if (const auto* gid = said.find("gid")) header.gid = TRY(parse_decimal(*gid, "group"));
    entry.attributes.mtime = {.seconds = header.mtime, .nanoseconds = 0};
    if (const auto* mtime = said.find("mtime")) entry.attributes.mtime = TRY(parse_pax_time(*mtime));
    return {};
}

Result<> TarReader::read_gnu_map(TarHeader& header)
{
    while (header.more_parts) {
        std::array<char, kTarBlockBytes> bytes{};
        if (!TRY(read_block(bytes))) return cut_short();
        header.more_parts = TRY(parse_sparse_block({bytes.data(), bytes.size()}, header.parts));
        if (header.parts.size() > kPartsMax) return fail(ErrorKind::Unavailable, "too many holes");
    }
    return {};
}

/// Form 1.0: the map is in front of the data, decimal numbers in lines: their count, then places and lengths.
Result<std::vector<DataPart>> TarReader::read_map()
{
    std::string text;
    std::size_t at = 0;
    const auto number = [&]() -> Result<std::uint64_t> {
        for (;;) {
            const auto end = text.find('\n', at);
            if (end != std::string::npos) {
                const auto value = parse_decimal(std::string_view{text}.substr(at, end - at), "map of a sparse file");
                at = end + 1;
                return value;
            }
            if (text.size() - at > 32 || left_ < kTarBlockBytes) return fail(ErrorKind::Corrupt, "a damaged map");
            text.erase(0, at);
            at = 0;
            std::array<char, kTarBlockBytes> bytes{};
            if (!TRY(read_block(bytes))) return cut_short();
            left_ -= kTarBlockBytes;
            text.append(bytes.data(), bytes.size());
        }
    };
    const auto count = TRY(number());
    if (count > kPartsMax) return fail(ErrorKind::Unavailable, "too many holes");
    std::vector<DataPart> parts;
    for (std::uint64_t i = 0; i < count; ++i) {
        DataPart part;
        part.offset = TRY(number());
        part.bytes = TRY(number());
        parts.push_back(part);
    }
    return parts;
}

Result<> TarReader::read_sparse(const TarHeader& header, TarEntry& entry)
{
    const auto said = records();
    if (header.type == 'S') {
        entry.sparse = true;
        entry.parts = header.parts;
        entry.size = header.real_size;
    } else if (const auto* major = said.find("GNU.sparse.major")) {
        const auto* const minor = said.find("GNU.sparse.minor");
        const auto* const size = said.find("GNU.sparse.realsize");
        if (*major != "1" || minor == nullptr || *minor != "0" || size == nullptr)
            return fail(ErrorKind::Unsupported, "a sparse file in an unknown form");
        entry.sparse = true;
        entry.size = TRY(parse_decimal(*size, "size"));
        entry.parts = TRY(read_map());
        entry.stored = left_;
    } else if (const auto* size_before = said.find("GNU.sparse.size")) {
        entry.sparse = true;
        entry.size = TRY(parse_decimal(*size_before, "size"));
        const auto* const map = said.find("GNU.sparse.map");
        entry.parts = map != nullptr ? TRY(parse_sparse_list(*map)) : records_.parts;
    }
    if (!entry.sparse) return {};
    return check_parts(entry.parts, entry.size, entry.stored);
}

Result<TarEntry> TarReader::to_entry(TarHeader header)
{
    TarEntry entry;
    TRY(apply_records(header, entry));
    entry.path = header.path;
    last_path_ = printable(header.path);
    entry.target = header.target;
    if (header.type == '1') entry.kind = TarEntry::Kind::HardLink;
    const auto type = TRY(type_of(header));
    const bool has_data = header.type == '0' || header.type == '7' || header.type == 'S';
    // What is no file may have content that nobody needs, such as the list of names in a GNU 'D'. A size in the
    // header of a link is the file's, and nothing follows (as all programs have it that write one).
    if (header.type >= '1' && header.type <= '6') header.size = 0;
    if (header.size > INT64_MAX - kTarBlockBytes) return fail(ErrorKind::Corrupt, "an impossible size");
    left_ = header.size;
    padding_ = padding_of(header.size);
    if (has_data && S_ISREG(type)) {
        entry.size = entry.stored = header.size;
        TRY(read_sparse(header, entry));
    }
    entry.attributes.mode = type | header.mode;
    entry.attributes.uid = TRY(id_of(header.uid));
    entry.attributes.gid = TRY(id_of(header.gid));
    if (S_ISCHR(type) || S_ISBLK(type)) {
        if (header.major > UINT32_MAX || header.minor > UINT32_MAX)
            return fail(ErrorKind::Corrupt, "impossible device numbers");
        entry.device = {.major = static_cast<std::uint32_t>(header.major),
                        .minor = static_cast<std::uint32_t>(header.minor)};
    }
    entry.xattrs = TRY(xattrs_of(records()));
    return entry;
}

Result<std::optional<TarEntry>> TarReader::next()
{
    const auto rest = left_ + padding_;
    if (rest > 0) TRY(input_->skip(rest));
    position_ += rest;
    left_ = padding_ = 0;
    const std::string behind = last_path_.empty() ? "the archive's first entry" : cat("the entry behind ", last_path_);
    auto header = TRY_DOING(behind, next_header());
    if (!header) return std::optional<TarEntry>{};
    TRY_DOING(behind, read_gnu_map(*header));
    auto entry = to_entry(*std::move(header));
    if (!entry) return fail(std::move(entry).error().with(last_path_));
    return std::optional<TarEntry>{*std::move(entry)};
}

} // namespace coppice::imports
