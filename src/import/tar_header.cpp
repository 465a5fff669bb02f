#include "tar_header.h"

#include "coppice/base/text.h"

#include <algorithm>

namespace coppice::imports {

namespace {

constexpr std::size_t kChecksumAt = 148, kChecksumBytes = 8;
constexpr std::size_t kPartBytes = 24, kHeaderParts = 4, kBlockParts = 21;

/// Up to the first NUL.
std::string text_at(std::string_view block, std::size_t at, std::size_t bytes)
{
    const auto field = block.substr(at, bytes);
    return std::string{field.substr(0, field.find('\0'))};
}

/// Octal digits between blanks and NULs, or (GNU) base 256 behind a first byte of 0x80, 0xFF being negative.
Result<std::int64_t> number_at(std::string_view block, std::size_t at, std::size_t bytes, std::string_view what)
{
    auto field = block.substr(at, bytes);
    const auto bad = [&] { return fail(ErrorKind::Corrupt, cat("a header with an impossible ", what)); };
    const auto first = static_cast<unsigned char>(field[0]);
    if (first == 0x80 || first == 0xFF) {
        std::int64_t value = first == 0xFF ? -1 : 0;
        for (const char c : field.substr(1)) {
            if (value > INT64_MAX >> 8 || value < INT64_MIN >> 8) return bad();
            value = value * 256 + static_cast<unsigned char>(c);
        }
        return value;
    }
    while (!field.empty() && field.front() == ' ')
        field.remove_prefix(1);
    std::int64_t value = 0;
    while (!field.empty() && field.front() >= '0' && field.front() <= '7') {
        value = value * 8 + (field.front() - '0'); // 12 digits at most: no overflow
        field.remove_prefix(1);
    }
    if (field.find_first_not_of(std::string_view{" \0", 2}) != std::string_view::npos) return bad();
    return value;
}

Result<std::uint64_t> size_at(std::string_view block, std::size_t at, std::size_t bytes, std::string_view what)
{
    const auto value = TRY(number_at(block, at, bytes, what));
    if (value < 0) return fail(ErrorKind::Corrupt, cat("a header with a negative ", what));
    return static_cast<std::uint64_t>(value);
}

Result<> check_sum(std::string_view block)
{
    const auto told = TRY(number_at(block, kChecksumAt, kChecksumBytes, "checksum"));
    std::int64_t as_unsigned = 0, as_signed = 0; // old programs summed up signed bytes
    for (std::size_t i = 0; i < block.size(); ++i) {
        const char c = i >= kChecksumAt && i < kChecksumAt + kChecksumBytes ? ' ' : block[i];
        as_unsigned += static_cast<unsigned char>(c);
        as_signed += static_cast<signed char>(c);
    }
    if (told != as_unsigned && told != as_signed)
        return fail(ErrorKind::Corrupt, "no tar header where one must be (wrong checksum)");
    return {};
}

Result<> read_parts(std::string_view table, std::size_t count, std::vector<DataPart>& parts)
{
    for (std::size_t i = 0; i < count; ++i) {
        const auto entry = table.substr(i * kPartBytes, kPartBytes);
        if (entry[0] == '\0') break;
        DataPart part;
        part.offset = TRY(size_at(entry, 0, 12, "place of data"));
        part.bytes = TRY(size_at(entry, 12, 12, "length of data"));
        parts.push_back(part);
    }
    return {};
}

} // namespace

bool is_zero_block(std::string_view block) { return block.find_first_not_of('\0') == std::string_view::npos; }

Result<TarHeader> parse_tar_header(std::string_view block)
{
    COPPICE_CHECK(block.size() == kTarBlockBytes);
    TRY(check_sum(block));
    TarHeader header;
    header.type = block[156] == '\0' ? '0' : block[156];
    header.path = text_at(block, 0, 100);
    header.target = text_at(block, 157, 100);
    header.mode = static_cast<std::uint32_t>(TRY(size_at(block, 100, 8, "mode"))) & 07777U;
    header.uid = TRY(size_at(block, 108, 8, "owner"));
    header.gid = TRY(size_at(block, 116, 8, "group"));
    header.size = TRY(size_at(block, 124, 12, "size"));
    header.mtime = TRY(number_at(block, 136, 12, "time"));
    const auto magic = block.substr(257, 8);
    const bool posix = magic.starts_with(std::string_view{"ustar\0", 6});
    const bool gnu = magic == std::string_view{"ustar  \0", 8};
    if (!posix && !gnu) return header; // as before POSIX: no devices, no prefix
    if (header.type == '3' || header.type == '4') {
        header.major = TRY(size_at(block, 329, 8, "device number"));
        header.minor = TRY(size_at(block, 337, 8, "device number"));
    }
    if (posix)
        if (const auto prefix = text_at(block, 345, 155); !prefix.empty()) header.path = cat(prefix, '/', header.path);
    if (gnu && header.type == 'S') {
        TRY(read_parts(block.substr(386), kHeaderParts, header.parts));
        header.more_parts = block[482] != '\0';
        header.real_size = TRY(size_at(block, 483, 12, "real size"));
    }
    return header;
}

Result<bool> parse_sparse_block(std::string_view block, std::vector<DataPart>& parts)
{
    COPPICE_CHECK(block.size() == kTarBlockBytes);
    TRY(read_parts(block, kBlockParts, parts));
    return block[504] != '\0';
}

Result<> check_parts(const std::vector<DataPart>& parts, std::uint64_t size, std::uint64_t stored)
{
    std::uint64_t end = 0, sum = 0;
    for (const DataPart& part : parts) {
        if (part.offset < end || part.offset > size || part.bytes > size - part.offset)
            return fail(ErrorKind::Corrupt, "an impossible map of a sparse file");
        end = part.offset + part.bytes;
        sum += part.bytes; // at most `size`
    }
    if (sum != stored) return fail(ErrorKind::Corrupt, "the map of a sparse file does not fit its data");
    return {};
}

} // namespace coppice::imports
