#include "coppice/import/source.h"

#include "coppice/base/text.h"
#include "coppice/import/disk_image.h"
#include "coppice/import/remote.h"
#include "coppice/os/file.h"
#include "decompress.h"

#include <unistd.h>

namespace coppice::imports {

namespace {

using Kind = Source::Kind;

bool is_directory(const std::string& path)
{
    const auto status = os::find_status(os::kCwd, path);
    return status && *status && S_ISDIR((*status)->st_mode);
}

/// "PATH:REFERENCE", where a path that exists is none but a path.
Source with_reference(std::string text)
{
    Source source;
    const auto colon = text.rfind(':');
    if (colon != std::string::npos && !os::exists(os::kCwd, text)) {
        source.reference = text.substr(colon + 1);
        text.resize(colon);
        // A reference may have a colon itself: "archive.tar:debian:12".
        if (const auto before = text.rfind(':'); before != std::string::npos && !os::exists(os::kCwd, text)) {
            source.reference = cat(text.substr(before + 1), ":", source.reference);
            text.resize(before);
        }
    }
    source.kind = is_directory(text) ? Kind::Layout : Kind::Archive;
    source.location = std::move(text);
    return source;
}

Result<Kind> kind_of(const std::string& path)
{
    if (is_directory(path))
        return os::exists(os::kCwd, path + "/oci-layout") && os::exists(os::kCwd, path + "/index.json")
                   ? Kind::Layout
                   : Kind::Directory;
    const auto file = TRY(os::open_at(os::kCwd, path, O_RDONLY | O_NONBLOCK));
    std::string first(512, '\0');
    const auto got = os::retry_eintr([&] { return ::pread(file.get(), first.data(), first.size(), 0); });
    if (got < 0) return fail_os(errno, cat("read ", path));
    first.resize(static_cast<std::size_t>(got));
    if (detect_compression(first) != Compression::None) return Kind::Archive;
    return first.size() == 512 && first.substr(257, 5) == "ustar" ? Kind::Archive : Kind::Disk;
}

} // namespace

Result<Source> parse_source(const std::string& text)
{
    const auto behind = [&](std::string_view prefix) { return text.substr(prefix.size()); };
    if (text.starts_with("dir:")) return Source{Kind::Directory, behind("dir:"), {}};
    if (text.starts_with("tar:")) return Source{Kind::Archive, behind("tar:"), {}};
    if (text.starts_with("disk:")) return Source{Kind::Disk, behind("disk:"), {}};
    if (text.starts_with("oci:")) return with_reference(behind("oci:"));
    if (text.starts_with("docker-archive:")) return with_reference(behind("docker-archive:"));
    if (text.starts_with("docker://")) return Source{Kind::Registry, behind("docker://"), {}};
    if (text == "machine:") return Source{Kind::Machine, {}, {}};
    if (text == "ssh://") // no host is this machine
        return fail(Error{ErrorKind::Invalid, "ssh:// names no host"}.hint("for this machine write machine:"));
    if (text.starts_with("ssh://")) return Source{Kind::Machine, behind("ssh://"), {}};
    if (!os::exists(os::kCwd, text))
        for (const std::string distribution : {"debian", "ubuntu"})
            if (text.starts_with(distribution + ":"))
                return Source{Kind::Suite, behind(distribution + ":"), distribution};
    if (!os::exists(os::kCwd, text))
        return fail(Error{ErrorKind::NotFound, cat("there is no ", printable(text))}.hint(
            cat("for an image of a registry write docker://", printable(text))));
    Source source;
    source.kind = TRY(kind_of(text));
    source.location = text;
    return source;
}

Result<Imported> read_source(const Source& source, const SourceOptions& options, const Context& context)
{
    const ImageChoice choice{.reference = source.reference, .architecture = options.architecture};
    switch (source.kind) {
    case Kind::Directory: return import_directory(source.location, context);
    case Kind::Archive: {
        // What is no file could keep us waiting for a writer, without hearing a stop request.
        auto file = TRY(os::open_at(os::kCwd, source.location, O_RDONLY | O_NONBLOCK));
        struct stat status{};
        if (::fstat(file.get(), &status) < 0) return fail_os(errno, cat("stat ", source.location));
        if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
            return fail(ErrorKind::Invalid, cat(printable(source.location), " is no file"));
        return import_tar(std::move(file), source.location, choice, context);
    }
    case Kind::Layout: {
        const auto files = TRY(import_directory(source.location, context));
        return with_context(read_image(files.tree, choice, context), source.location);
    }
    case Kind::Disk: return import_disk(source.location, options.partition, context);
    case Kind::Registry:
        return import_registry(
            source.location,
            {.architecture = options.architecture, .authfile = options.authfile, .plain_http = options.plain_http},
            context);
    case Kind::Suite: return import_suite(source.reference, source.location, options.mirror, context);
    case Kind::Machine: return import_machine(source.location, options.file_systems, context);
    }
    check_failed("a kind of source", __FILE__, __LINE__);
}

} // namespace coppice::imports
