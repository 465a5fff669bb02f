#include "tar_writer.h"

#include "coppice/base/text.h"
#include "coppice/import/acl_text.h"

#include <cstdio>

namespace coppice::exports {

namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kNameBytes = 100;
constexpr std::uint64_t kShortMax = 07777777, kLongMax = 077777777777; // of fields with 8 and 12 bytes

/// "LENGTH KEYWORD=VALUE\n", the length being of all of it.
void put_record(std::string& records, std::string_view keyword, std::string_view value)
{
    const std::size_t rest = keyword.size() + value.size() + 3;
    std::size_t length = rest + 1;
    while (std::to_string(length).size() + rest != length)
        ++length;
    records += cat(length, ' ', keyword, '=', value, '\n');
}

std::string decimal_time(vdisk::FileTime time)
{
    const bool negative = time.seconds < 0;
    if (negative && time.nanoseconds > 0) { // -0.25 is second -1 and 750,000,000 nanoseconds
        ++time.seconds;
        time.nanoseconds = 1'000'000'000 - time.nanoseconds;
    }
    const auto magnitude =
        negative ? 0 - static_cast<std::uint64_t>(time.seconds) : static_cast<std::uint64_t>(time.seconds);
    std::string text = cat(negative ? "-" : "", magnitude);
    if (time.nanoseconds == 0) return text;
    const auto digits = std::to_string(1'000'000'000U + time.nanoseconds);
    text += cat('.', std::string_view{digits}.substr(1));
    return text.substr(0, text.find_last_not_of('0') + 1);
}

/// As GNU tar has it: "=" would end the keyword.
std::string keyword_of(std::string_view attribute)
{
    std::string keyword = "SCHILY.xattr.";
    for (const char c : attribute)
        keyword += c == '%' ? "%25" : c == '=' ? "%3D" : std::string(1, c);
    return keyword;
}

void put_xattrs(std::string& records, const std::vector<vdisk::Xattr>& xattrs, TarWriter::Acls acls)
{
    for (const vdisk::Xattr& xattr : xattrs) {
        const bool access = xattr.name == "system.posix_acl_access";
        if (acls == TarWriter::Acls::Text && (access || xattr.name == "system.posix_acl_default"))
            if (const auto text = imports::print_acl(xattr.value)) {
                put_record(records, access ? "SCHILY.acl.access" : "SCHILY.acl.default", *text);
                continue;
            }
        put_record(records, keyword_of(xattr.name), xattr.value);
    }
}

class Header {
public:
    void text(std::size_t at, std::size_t most, std::string_view value)
    {
        block_.replace(at, std::min(most, value.size()), value.substr(0, most));
    }
    /// Octal digits and a NUL; 0 for what the pax header says.
    void number(std::size_t at, std::size_t bytes, std::uint64_t value)
    {
        for (std::size_t i = bytes - 1; i-- > 0; value >>= 3U)
            block_[at + i] = static_cast<char>('0' + (value & 7U));
    }
    std::string seal() &&
    {
        text(257, 8, std::string_view{"ustar\00000", 8});
        text(148, 8, "        ");
        std::uint64_t sum = 0;
        for (const char c : block_)
            sum += static_cast<unsigned char>(c);
        number(148, 7, sum);
        block_[154] = '\0';
        return std::move(block_);
    }

private:
    std::string block_ = std::string(kBlockBytes, '\0');
};

std::string header_of(std::string_view path, char type, const TarMember& member, std::uint64_t stored)
{
    const auto fitting = [](std::uint64_t value, std::uint64_t most) { return value > most ? 0 : value; };
    Header header;
    header.text(0, kNameBytes, path);
    header.number(100, 8, member.attributes.mode & 07777U);
    header.number(108, 8, fitting(member.attributes.uid, kShortMax));
    header.number(116, 8, fitting(member.attributes.gid, kShortMax));
    header.number(124, 12, fitting(stored, kLongMax));
    // A negative one becomes a great number here, and so 0.
    header.number(136, 12, fitting(static_cast<std::uint64_t>(member.attributes.mtime.seconds), kLongMax));
    header.text(156, 1, std::string_view{&type, 1});
    if (type == '1' || type == '2') header.text(157, kNameBytes, member.target);
    if (type == '3' || type == '4') {
        header.number(329, 8, member.device.major);
        header.number(337, 8, member.device.minor);
    }
    return std::move(header).seal();
}

} // namespace

Result<> TarWriter::write(std::string_view content)
{
    position_ += content.size();
    return out_->write(content);
}

Result<> TarWriter::pad()
{
    static constexpr char kZeros[kBlockBytes]{};
    const auto bytes = (kBlockBytes - position_ % kBlockBytes) % kBlockBytes;
    return bytes == 0 ? Result<>{} : write({kZeros, bytes});
}

Result<> TarWriter::put_headers(const TarMember& member, std::uint64_t stored, std::string records)
{
    const auto& attributes = member.attributes;
    const std::string path = cat(member.path, member.type == '5' ? "/" : "");
    if (path.size() > kNameBytes) put_record(records, "path", path);
    if (member.target.size() > kNameBytes) put_record(records, "linkpath", member.target);
    if (stored > kLongMax) put_record(records, "size", std::to_string(stored));
    if (attributes.uid > kShortMax) put_record(records, "uid", std::to_string(attributes.uid));
    if (attributes.gid > kShortMax) put_record(records, "gid", std::to_string(attributes.gid));
    if (attributes.mtime.nanoseconds != 0 || static_cast<std::uint64_t>(attributes.mtime.seconds) > kLongMax)
        put_record(records, "mtime", decimal_time(attributes.mtime));
    put_xattrs(records, member.xattrs, acls_);
    if (!records.empty()) {
        TRY(write(header_of("PaxHeaders/entry", 'x', {}, records.size())));
        TRY(write(records));
        TRY(pad());
    }
    return write(header_of(path, member.type, member, stored));
}

Result<> TarWriter::add(const TarMember& member)
{
    return put_headers(member, member.type == '0' ? member.size : 0, {});
}

Result<> TarWriter::add_sparse(const TarMember& member, const std::vector<DataPart>& parts)
{
    std::string map = cat(parts.size(), '\n');
    std::uint64_t stored = 0;
    for (const DataPart& part : parts) {
        map += cat(part.offset, '\n', part.bytes, '\n');
        stored += part.bytes;
    }
    map.resize((map.size() + kBlockBytes - 1) / kBlockBytes * kBlockBytes);
    std::string records;
    put_record(records, "GNU.sparse.major", "1");
    put_record(records, "GNU.sparse.minor", "0");
    put_record(records, "GNU.sparse.name", member.path);
    put_record(records, "GNU.sparse.realsize", std::to_string(member.size));
    TarMember other = member; // what programs see that do not know the form
    const auto slash = member.path.rfind('/');
    other.path = slash == std::string::npos
                     ? cat("GNUSparseFile.0/", member.path)
                     : cat(member.path.substr(0, slash), "/GNUSparseFile.0", member.path.substr(slash));
    TRY(put_headers(other, map.size() + stored, std::move(records)));
    return write(map);
}

Result<> TarWriter::finish() { return write(std::string(2 * kBlockBytes, '\0')); }

} // namespace coppice::exports
