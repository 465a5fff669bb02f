#include "coppice/import/archive.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "spool.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <unistd.h>

namespace coppice::imports {

namespace {

constexpr std::size_t kBufferBytes = 256U << 10;
constexpr std::string_view kSpool = "the spool file";

Error damaged(const std::string& what) { return {ErrorKind::Corrupt, what}; }

Result<CheckedPart> take_part(const TarEntry& entry, TarReader& reader, const Context& context)
{
    CheckedPart part;
    part.file = TRY_DOING("make a spool file", os::open_at(context.spool, ".", O_TMPFILE | O_RDWR, 0600));
    security::Sha256 hash;
    std::string buffer(kBufferBytes, '\0');
    while (const std::size_t got = TRY(reader.read(buffer))) {
        TRY(check_stop(context.stop));
        const std::string_view bytes{buffer.data(), got};
        hash.update(bytes);
        TRY(write_around_zeros(part.file.get(), bytes, part.bytes, kSpool)); // holes in the archive fill no disk
        part.bytes += got;
        context.progress({.stage = "reading the archive", .bytes = reader.position()});
    }
    if (part.bytes != entry.size) return fail(damaged("the archive has less data than it says"));
    TRY(os::truncate(part.file.get(), part.bytes, kSpool)); // it may end in a hole
    part.sha256 = hash.finish().hex();
    return part;
}

/// What is in the archive, whatever its list says.
Result<ArchiveParts> take_parts(os::Fd file, const std::string& name, const Context& context)
{
    FileStream stream{std::move(file), name, context.stop};
    TarReader reader{stream, context.limits, TarReader::End::Marked};
    ArchiveParts parts;
    while (const auto entry = TRY(reader.next())) {
        const bool plain = entry->kind == TarEntry::Kind::Inode && S_ISREG(entry->attributes.mode) && !entry->sparse;
        if (!plain) return fail(damaged(cat("'", printable(entry->path), "' is no plain file")));
        if (parts.size() > kArchiveParts || parts.contains(entry->path))
            return fail(damaged(cat("'", printable(entry->path), "' is there twice, or there are too many parts")));
        auto part = TRY_DOING(printable(entry->path), take_part(*entry, reader, context));
        parts.emplace(entry->path, std::move(part));
    }
    return parts;
}

Result<nlohmann::json> read_list(ArchiveParts& parts, const Context& context)
{
    const auto list = parts.find(kArchiveList);
    if (list == parts.end()) return fail(damaged(cat("there is no ", kArchiveList, " in it")));
    const auto text = TRY(os::read_all(list->second.file, context.limits.document_bytes, kArchiveList));
    parts.erase(list);
    return parse_json(text);
}

Result<> compare(const ArchiveParts& parts, const nlohmann::json& list)
{
    const JsonNode node{list};
    const auto type = TRY(TRY(node.get("type")).text());
    if (type != kArchiveType)
        return fail(ErrorKind::Unsupported, cat("it is of type '", printable(type), "', not ", kArchiveType));
    std::set<std::string> listed;
    TRY(node.each("parts", [&](const JsonNode& entry) -> Result<> {
        const auto name = TRY(TRY(entry.get("name")).text());
        const auto part = parts.find(name);
        if (part == parts.end()) return fail(damaged(cat("'", printable(name), "' is missing")));
        const auto bytes = TRY(TRY(entry.get("bytes")).unsigned_integer());
        const auto sha256 = TRY(TRY(entry.get("sha256")).text());
        if (bytes != part->second.bytes || sha256 != part->second.sha256)
            return fail(damaged(cat("'", printable(name), "' is not what the list says: it is damaged")));
        listed.insert(name);
        return {};
    }));
    for (const auto& [name, part] : parts)
        if (!listed.contains(name)) return fail(damaged(cat("'", printable(name), "' is not in the list")));
    return {};
}

} // namespace

Result<ArchiveParts> read_archive(os::Fd file, const std::string& name, const Context& context)
{
    const auto read = [&]() -> Result<ArchiveParts> {
        auto parts = TRY(take_parts(std::move(file), name, context));
        const auto list = TRY(read_list(parts, context));
        TRY_DOING(kArchiveList, compare(parts, list));
        return parts;
    };
    return with_context(read(), name);
}

} // namespace coppice::imports
