#include "coppice/export/archive.h"

#include "coppice/import/archive.h"
#include "coppice/os/file.h"
#include "destination.h"
#include "sinks.h"
#include "tar_writer.h"

#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::exports {

namespace {

constexpr std::size_t kBufferBytes = 256U << 10;

struct Spooled {
    std::string name;
    os::Fd file;
    std::uint64_t bytes = 0;
    security::Sha256Digest digest;
};

Result<Spooled> spool(const ArchivePart& part, const Context& context)
{
    Spooled spooled;
    spooled.name = part.name;
    spooled.file = TRY_DOING("make a spool file", os::open_at(context.spool, ".", O_TMPFILE | O_RDWR, 0600));
    FileSink file{spooled.file.get(), "the spool file"};
    HashingSink out{file};
    TRY_DOING(part.name, part.write(out));
    TRY(file.flush());
    spooled.bytes = out.bytes();
    spooled.digest = out.finish();
    return spooled;
}

Result<> add_header(TarWriter& tar, const std::string& name, std::uint64_t bytes)
{
    TarMember member;
    member.path = name;
    member.attributes.mode = S_IFREG | 0600;
    member.size = bytes;
    return tar.add(member);
}

Result<> add_spooled(TarWriter& tar, const Spooled& part, const Context& context)
{
    TRY(add_header(tar, part.name, part.bytes));
    std::string buffer(kBufferBytes, '\0');
    for (std::uint64_t at = 0; at < part.bytes;) {
        TRY(imports::check_stop(context.stop));
        const auto got = os::retry_eintr(
            [&] { return ::pread(part.file.get(), buffer.data(), buffer.size(), static_cast<off_t>(at)); });
        if (got <= 0) return fail_os(got < 0 ? errno : EIO, "read the spool file");
        TRY(tar.write({buffer.data(), static_cast<std::size_t>(got)}));
        at += static_cast<std::uint64_t>(got);
        context.progress({.stage = "writing the archive", .bytes = at, .total_bytes = part.bytes});
    }
    return tar.pad();
}

std::string list_of(const std::vector<Spooled>& parts)
{
    nlohmann::ordered_json list{{"type", imports::kArchiveType}, {"parts", nlohmann::ordered_json::array()}};
    for (const Spooled& part : parts)
        list["parts"].push_back({{"name", part.name}, {"bytes", part.bytes}, {"sha256", part.digest.hex()}});
    return list.dump(2);
}

} // namespace

Result<Exported> write_archive(const std::string& path, const std::vector<ArchivePart>& parts, const Context& context)
{
    auto destination = TRY(Destination::make(path, Destination::Kind::File)); // before anything is spent
    std::vector<Spooled> spooled;
    spooled.reserve(parts.size());
    for (const ArchivePart& part : parts)
        spooled.push_back(TRY(spool(part, context)));
    FileSink file{destination.get().get(), path};
    HashingSink out{file};
    TarWriter tar{out};
    const std::string list = list_of(spooled);
    TRY(add_header(tar, imports::kArchiveList, list.size()));
    TRY(tar.write(list));
    TRY(tar.pad());
    for (const Spooled& part : spooled)
        TRY(add_spooled(tar, part, context));
    TRY(tar.finish());
    TRY(file.flush());
    TRY(std::move(destination).complete());
    return Exported{.path = path, .bytes = out.bytes(), .digest = out.finish()};
}

} // namespace coppice::exports
