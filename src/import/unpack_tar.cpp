#include "coppice/import/unpack_tar.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "tar_reader.h"

#include <array>
#include <cerrno>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::imports {

namespace {

/// The parts of a name in an archive. Empty: what it names is not to be written.
Result<std::vector<std::string>> parts_of(const std::string& path, const UnpackTar& how)
{
    std::vector<std::string> parts;
    for (const auto part : split(path, '/')) {
        if (part == "..") return fail(ErrorKind::Corrupt, cat(printable(path), " leads out of the archive"));
        if (!part.empty() && part != ".") parts.emplace_back(part);
    }
    if (!how.first || parts.empty()) return parts;
    if (how.first->empty())
        parts.erase(parts.begin());
    else
        parts.front() = *how.first;
    return parts;
}

class Unpacking {
public:
    Unpacking(os::Fd directory, const UnpackTar& how, TarReader& reader)
        : directory_{std::move(directory)}, how_{&how}, reader_{&reader}, buffer_(1U << 18, '\0')
    {
    }
    Result<> add(const TarEntry& entry)
    {
        auto parts = TRY(parts_of(entry.path, *how_));
        if (parts.empty()) return {};
        const std::string name = std::move(parts.back());
        parts.pop_back();
        const auto parent = TRY(open_parent(parts));
        if (S_ISDIR(entry.attributes.mode) && entry.kind == TarEntry::Kind::Inode)
            TRY(make_directory(parent, name));
        else
            TRY(make_other(parent, name, entry));
        return entry.kind == TarEntry::Kind::Inode ? describe(parent, name, entry) : Result<>{};
    }

private:
    Result<os::Fd> open_parent(const std::vector<std::string>& parts)
    {
        auto at = TRY(os::open_at(directory_.get(), ".", O_PATH | O_DIRECTORY));
        for (const std::string& part : parts) {
            if (::mkdirat(at.get(), part.c_str(), 0755) < 0 && errno != EEXIST)
                return fail_os(errno, cat("make ", printable(part)));
            at = TRY(os::open_at(at.get(), part, O_PATH | O_DIRECTORY));
        }
        return at;
    }
    static Result<> make_directory(const os::Fd& parent, const std::string& name)
    {
        if (::mkdirat(parent.get(), name.c_str(), 0700) == 0) return {};
        if (errno != EEXIST) return fail_os(errno, cat("make ", printable(name)));
        const auto there = TRY(os::find_status(parent.get(), name));
        if (there && S_ISDIR(there->st_mode)) return {};
        return fail(ErrorKind::Conflict, cat("cannot copy a directory onto the file ", printable(name)));
    }
    Result<> make_other(const os::Fd& parent, const std::string& name, const TarEntry& entry)
    {
        if (::unlinkat(parent.get(), name.c_str(), 0) < 0 && errno != ENOENT) {
            if (errno == EISDIR)
                return fail(ErrorKind::Conflict, cat("cannot copy a file onto the directory ", printable(name)));
            return fail_os(errno, cat("replace ", printable(name)));
        }
        if (entry.kind == TarEntry::Kind::HardLink) return link(parent, name, entry.target);
        const auto mode = entry.attributes.mode;
        if (S_ISREG(mode)) return write_file(parent, name, entry);
        const auto device = ::gnu_dev_makedev(entry.device.major, entry.device.minor);
        const int made = S_ISLNK(mode) ? ::symlinkat(entry.target.c_str(), parent.get(), name.c_str())
                                       : ::mknodat(parent.get(), name.c_str(), (mode & S_IFMT) | 0600U, device);
        return made == 0 ? Result<>{} : fail_os(errno, cat("make ", printable(name)));
    }
    Result<> link(const os::Fd& parent, const std::string& name, const std::string& target)
    {
        auto parts = TRY(parts_of(target, *how_));
        if (parts.empty()) return fail(ErrorKind::Corrupt, "a link to nothing");
        const std::string first = std::move(parts.back());
        parts.pop_back();
        const auto from = TRY(open_parent(parts));
        if (::linkat(from.get(), first.c_str(), parent.get(), name.c_str(), 0) == 0) return {};
        return fail_os(errno, cat("link ", printable(name)));
    }
    Result<> write_file(const os::Fd& parent, const std::string& name, const TarEntry& entry)
    {
        const auto file = TRY(os::open_at(parent.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
        auto parts = entry.parts;
        if (!entry.sparse) parts.push_back({.offset = 0, .bytes = entry.stored});
        for (const DataPart& part : parts)
            TRY(write_part(file, part));
        if (::ftruncate(file.get(), static_cast<off_t>(entry.size)) < 0)
            return fail_os(errno, cat("write ", printable(name)));
        return {};
    }
    Result<> write_part(const os::Fd& file, const DataPart& part)
    {
        if (::lseek(file.get(), static_cast<off_t>(part.offset), SEEK_SET) < 0) return fail_os(errno, "seek");
        for (std::uint64_t left = part.bytes; left > 0;) {
            const std::size_t most = std::min<std::uint64_t>(buffer_.size(), left);
            const auto got = TRY(reader_->read(std::span{buffer_}.first(most)));
            if (got == 0) return fail(ErrorKind::Corrupt, "the archive is cut short");
            TRY(os::write_all(file.get(), std::string_view{buffer_}.substr(0, got), "file"));
            left -= got;
        }
        return {};
    }
    /// Owner, mode and time. A change of the owner takes set-user-id bits away, so the mode comes after it.
    Result<> describe(const os::Fd& parent, const std::string& name, const TarEntry& entry) const
    {
        const auto& attributes = entry.attributes;
        const std::array<timespec, 2> times{
            {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
             {.tv_sec = attributes.mtime.seconds, .tv_nsec = static_cast<long>(attributes.mtime.nanoseconds)}}};
        const mode_t mode = attributes.mode & (how_->archive ? 07777U : 0777U);
        const bool changed = (!how_->archive || ::fchownat(parent.get(), name.c_str(), attributes.uid, attributes.gid,
                                                           AT_SYMLINK_NOFOLLOW) == 0) &&
                             (S_ISLNK(attributes.mode) || ::fchmodat(parent.get(), name.c_str(), mode, 0) == 0) &&
                             ::utimensat(parent.get(), name.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) == 0;
        return changed ? Result<>{} : fail_os(errno, cat("set owner, mode and time of ", printable(name)));
    }

    os::Fd directory_;
    const UnpackTar* how_;
    TarReader* reader_;
    std::string buffer_;
};

} // namespace

Result<> unpack_tar(os::Fd input, const UnpackTar& how)
{
    FileStream stream{std::move(input), "archive", {}};
    TarReader reader{stream, Limits{}, TarReader::End::Marked};
    Unpacking unpacking{TRY(os::open_at(os::kCwd, how.directory, O_PATH | O_DIRECTORY)), how, reader};
    while (const auto entry = TRY(reader.next()))
        TRY_DOING(printable(entry->path), unpacking.add(*entry));
    return {};
}

} // namespace coppice::imports
