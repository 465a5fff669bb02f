#include "coppice/export/pack_tree.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "tar_writer.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::exports {

namespace {

constexpr int kMaxDepth = 256; // descriptors are held on the way down
constexpr std::size_t kPartsMax = 65'536;
constexpr std::size_t kCopyBytes = 1U << 18;
constexpr std::uint64_t kStatBlock = 512;

TarMember member_of(const struct stat& status, std::string path)
{
    TarMember member;
    member.path = std::move(path);
    member.attributes = {
        .mode = status.st_mode,
        .uid = status.st_uid,
        .gid = status.st_gid,
        .mtime = {.seconds = status.st_mtim.tv_sec, .nanoseconds = static_cast<std::uint32_t>(status.st_mtim.tv_nsec)}};
    member.device = {.major = ::gnu_dev_major(status.st_rdev), .minor = ::gnu_dev_minor(status.st_rdev)};
    member.type = S_ISDIR(status.st_mode)    ? '5'
                  : S_ISLNK(status.st_mode)  ? '2'
                  : S_ISCHR(status.st_mode)  ? '3'
                  : S_ISBLK(status.st_mode)  ? '4'
                  : S_ISFIFO(status.st_mode) ? '6'
                                             : '0';
    return member;
}

/// Where a file with holes has content; empty when it has none, or too many.
std::vector<DataPart> parts_of(const os::Fd& file, const struct stat& status)
{
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (static_cast<std::uint64_t>(status.st_blocks) * kStatBlock >= size) return {};
    std::vector<DataPart> parts;
    for (off_t at = 0; at < status.st_size;) {
        const auto begin = ::lseek(file.get(), at, SEEK_DATA);
        if (begin < 0 || begin >= status.st_size) break;
        const auto end = std::min(::lseek(file.get(), begin, SEEK_HOLE), status.st_size);
        if (end <= begin || parts.size() >= kPartsMax) return {};
        parts.push_back(
            {.offset = static_cast<std::uint64_t>(begin), .bytes = static_cast<std::uint64_t>(end - begin)});
        at = end;
    }
    // A hole at the end is told by a part without bytes there.
    if (parts.empty() || parts.back().offset + parts.back().bytes < size) parts.push_back({.offset = size, .bytes = 0});
    return parts;
}

class Packer {
public:
    Packer(vdisk::ByteSink& out, dev_t device) : writer_{out}, device_{device}, buffer_(kCopyBytes, '\0') {}

    Result<> add(int directory, const std::string& name, const std::string& path, int depth)
    {
        const auto status = TRY(os::find_status(directory, name, false));
        if (!status || S_ISSOCK(status->st_mode)) return {}; // removed meanwhile, or nothing to copy
        if (S_ISDIR(status->st_mode)) return add_directory(directory, name, path, depth);
        if (S_ISREG(status->st_mode)) return add_file(directory, name, path);
        auto member = member_of(*status, path);
        if (S_ISLNK(status->st_mode)) {
            member.target.resize(PATH_MAX);
            const auto length = ::readlinkat(directory, name.c_str(), member.target.data(), member.target.size());
            if (length < 0) return fail_os(errno, cat("read link ", printable(path)));
            member.target.resize(static_cast<std::size_t>(length));
        }
        return writer_.add(member);
    }
    Result<> finish() { return writer_.finish(); }

private:
    Result<> add_directory(int parent, const std::string& name, const std::string& path, int depth)
    {
        if (depth > kMaxDepth) return fail(ErrorKind::Invalid, cat("more than ", kMaxDepth, " directories deep"));
        const auto directory = TRY(os::open_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        struct stat status{};
        if (::fstat(directory.get(), &status) < 0) return fail_os(errno, cat("stat ", printable(path)));
        TRY(writer_.add(member_of(status, path)));
        if (status.st_dev != device_) return {};
        auto names = TRY(os::list_directory(directory.get(), "."));
        std::sort(names.begin(), names.end());
        names.erase(std::unique(names.begin(), names.end()), names.end()); // who renames while we read sees some twice
        for (const std::string& child : names)
            TRY(add(directory.get(), child, cat(path, '/', child), depth + 1));
        return {};
    }
    Result<> add_file(int directory, const std::string& name, const std::string& path)
    {
        const auto file = TRY(os::open_at(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
        struct stat status{};
        if (::fstat(file.get(), &status) < 0) return fail_os(errno, cat("stat ", printable(path)));
        if (!S_ISREG(status.st_mode)) return {}; // it is another one now
        auto member = member_of(status, path);
        member.size = static_cast<std::uint64_t>(status.st_size);
        auto parts = parts_of(file, status);
        if (parts.empty()) {
            parts.push_back({.offset = 0, .bytes = member.size});
            TRY(writer_.add(member));
        } else {
            TRY(writer_.add_sparse(member, parts));
        }
        for (const DataPart& part : parts)
            TRY_DOING(printable(path), copy(file, part));
        return writer_.pad();
    }
    Result<> copy(const os::Fd& file, const DataPart& part)
    {
        for (std::uint64_t at = 0; at < part.bytes;) {
            const std::size_t wanted = std::min<std::uint64_t>(buffer_.size(), part.bytes - at);
            const auto got = os::retry_eintr(
                [&] { return ::pread(file.get(), buffer_.data(), wanted, static_cast<off_t>(part.offset + at)); });
            if (got < 0) return fail_os(errno, "read");
            if (got == 0) std::fill_n(buffer_.begin(), wanted, '\0'); // it has become shorter
            const auto bytes = got == 0 ? wanted : static_cast<std::size_t>(got);
            TRY(writer_.write(std::string_view{buffer_}.substr(0, bytes)));
            at += bytes;
        }
        return {};
    }

    TarWriter writer_;
    dev_t device_;
    std::string buffer_;
};

} // namespace

Result<> pack_tree(const std::string& path, vdisk::ByteSink& out)
{
    const auto status = TRY(os::find_status(os::kCwd, path, false));
    if (!status) return fail(ErrorKind::NotFound, cat(printable(path), " is not there"));
    const auto name = path.substr(path.rfind('/') + 1); // npos + 1 is 0
    Packer packer{out, status->st_dev};
    TRY(packer.add(os::kCwd, path, name.empty() ? "." : name, 0));
    return packer.finish();
}

} // namespace coppice::exports
