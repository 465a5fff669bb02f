#include "coppice/vdisk/read_tree.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "directory_source.h"

#include <cerrno>
#include <climits>
#include <dirent.h>
#include <map>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr std::size_t kMostListBytes = 65536; // XATTR_LIST_MAX, XATTR_SIZE_MAX of the kernel

std::unexpected<Error> changed(std::string_view path)
{
    return fail(Error{ErrorKind::Conflict, cat(printable(path), " changed while the tree was listed")}.hint(
        "stop what writes there, or take a snapshot first"));
}

/// Scans breadth first, one directory open at a time, so that depth costs neither descriptors nor stack.
class Scan {
public:
    Scan(std::shared_ptr<DirectorySource> source, ScanOptions options)
        : source_{std::move(source)}, options_{std::move(options)}
    {
    }
    Result<Tree> run();

private:
    struct Pending {
        std::uint32_t number; ///< in source_
        InodeId inode;
        std::uint64_t mount;
        std::size_t depth;
    };
    struct Found {
        std::string name, path;
        struct statx status;
        bool covered; ///< something is mounted over it that is not to be seen
    };
    Result<> read_directory(const Pending& directory);
    Result<> read_entry(const Pending& directory, int fd, const Found& found);
    Result<> check(const Pending& directory, const Found& found, bool has_content);
    Result<InodeId> add_inode(int fd, const Found& found, std::uint64_t key);
    Result<> read_xattrs(InodeId inode, const std::string& link, const std::string& path);
    Result<bool> wants(const Xattr& xattr, std::uint32_t mode, const std::string& path) const;

    Tree tree_;
    std::shared_ptr<DirectorySource> source_;
    ScanOptions options_;
    std::vector<Pending> pending_;
    std::uint64_t entries_ = 0, file_bytes_ = 0;
    struct Linked {
        InodeId inode;
        std::uint32_t names_left; ///< not seen yet
    };
    std::map<std::pair<std::uint64_t, std::uint64_t>, Linked> linked_; ///< by device and number
};

Result<struct statx> status_of(int dir, const std::string& name, const std::string& path)
{
    struct statx status{};
    constexpr unsigned kWanted = STATX_BASIC_STATS | STATX_MNT_ID;
    if (::statx(dir, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT, kWanted, &status) < 0) {
        if (errno == ENOENT) return changed(path);
        return fail_os(errno, cat("stat ", printable(path)));
    }
    return status;
}

Attributes attributes_of(const struct statx& status)
{
    return {.mode = status.stx_mode,
            .uid = status.stx_uid,
            .gid = status.stx_gid,
            .mtime = {.seconds = status.stx_mtime.tv_sec, .nanoseconds = status.stx_mtime.tv_nsec}};
}

Result<std::string> read_target(int dir, const std::string& name, const std::string& path)
{
    std::string target(PATH_MAX, '\0');
    const auto length = ::readlinkat(dir, name.c_str(), target.data(), target.size());
    if (length < 0) return errno == ENOENT || errno == EINVAL ? changed(path) : fail_os(errno, cat("read link ", path));
    target.resize(static_cast<std::size_t>(length));
    return target;
}

Result<bool> Scan::wants(const Xattr& xattr, std::uint32_t mode, const std::string& path) const
{
    if (!xattr.name.starts_with("trusted.")) return true;
    if (options_.form == ScanOptions::Form::Plain || !xattr.name.starts_with("trusted.overlay.")) return false;
    const std::string_view mark = std::string_view{xattr.name}.substr(16);
    if (mark == "opaque" && may_be_in_layer(xattr, mode)) return true;
    // Those that say that a file's content or a directory's entries are elsewhere. The others are overlayfs's notes.
    if (mark == "redirect" || mark == "metacopy" || mark == "opaque" || mark == "whiteout" || mark == "whiteouts")
        return fail(
            Error{ErrorKind::Unsupported, cat(printable(path), " has ", xattr.name, ": it is no whole file")}.hint(
                "mount overlays with redirect_dir=nofollow,metacopy=off"));
    return false;
}

Result<> Scan::read_xattrs(InodeId inode, const std::string& link, const std::string& path)
{
    std::string names(1024, '\0');
    auto length = ::llistxattr(link.c_str(), names.data(), names.size());
    if (length < 0 && errno == ERANGE) {
        names.resize(kMostListBytes);
        length = ::llistxattr(link.c_str(), names.data(), names.size());
    }
    if (length < 0) {
        if (errno == ENOTSUP) return {};
        return errno == ENOENT ? changed(path) : fail_os(errno, cat("list the extended attributes of ", path));
    }
    names.resize(static_cast<std::size_t>(length));
    std::vector<Xattr> wanted;
    for (std::size_t start = 0; start < names.size();) {
        Xattr xattr{.name = names.c_str() + start, .value = {}};
        start += xattr.name.size() + 1;
        xattr.value.resize(kMostListBytes);
        const auto got = ::lgetxattr(link.c_str(), xattr.name.c_str(), xattr.value.data(), xattr.value.size());
        if (got < 0) {
            if (errno == ENODATA || errno == ENOENT) return changed(path);
            return fail_os(errno, cat("read the extended attribute ", printable(xattr.name), " of ", path));
        }
        xattr.value.resize(static_cast<std::size_t>(got));
        if (TRY(wants(xattr, tree_.mode(inode), path))) wanted.push_back(std::move(xattr));
    }
    if (wanted.empty()) return {};
    return with_context(tree_.set_xattrs(inode, std::move(wanted)), printable(path));
}

Result<InodeId> Scan::add_inode(int fd, const Found& found, std::uint64_t key)
{
    const auto& status = found.status;
    const bool device = S_ISCHR(status.stx_mode) || S_ISBLK(status.stx_mode);
    const DeviceNumber number{.major = device ? status.stx_rdev_major : 0, .minor = device ? status.stx_rdev_minor : 0};
    const auto inode = TRY_DOING(printable(found.path), tree_.add(attributes_of(status), number));
    if (tree_.is_whiteout(inode)) {
        if (options_.form == ScanOptions::Form::OverlayUpper) return inode;
        return fail(Error{ErrorKind::Invalid, cat(printable(found.path), " is a whiteout (device 0/0)")}.hint(
            "this looks like a part of an overlay: give the merged directory"));
    }
    if (tree_.is_link(inode))
        TRY_DOING(printable(found.path), tree_.set_target(inode, TRY(read_target(fd, found.name, found.path))));
    if (tree_.is_file(inode)) tree_.set_content(inode, source_, key, found.covered ? 0 : status.stx_size);
    return inode;
}

Result<> Scan::check(const Pending& directory, const Found& found, bool has_content)
{
    // A sum that wraps would look small.
    if (has_content && __builtin_add_overflow(file_bytes_, found.status.stx_size, &file_bytes_))
        file_bytes_ = UINT64_MAX;
    return with_context(options_.check({.path = found.path,
                                        .depth = directory.depth + 1,
                                        .entries = entries_,
                                        .file_bytes = file_bytes_,
                                        .text_bytes = tree_.text_bytes()}),
                        printable(found.path));
}

Result<> Scan::read_entry(const Pending& directory, int fd, const Found& found)
{
    const auto& status = found.status;
    ++entries_;
    const bool is_directory = S_ISDIR(status.stx_mode);
    const std::pair identity{(static_cast<std::uint64_t>(status.stx_dev_major) << 32U) | status.stx_dev_minor,
                             static_cast<std::uint64_t>(status.stx_ino)};
    const bool whiteout = S_ISCHR(status.stx_mode) && status.stx_rdev_major == 0 && status.stx_rdev_minor == 0;
    const bool shared = !is_directory && !whiteout && !found.covered && status.stx_nlink > 1;
    if (shared)
        if (const auto known = linked_.find(identity); known != linked_.end()) {
            const InodeId inode = known->second.inode;
            TRY(check(directory, found, false));
            if (--known->second.names_left == 0) linked_.erase(known);
            return with_context(tree_.link(directory.inode, found.name, inode), printable(found.path));
        }

    TRY(check(directory, found, S_ISREG(status.stx_mode) && !found.covered));
    const auto key = S_ISREG(status.stx_mode) ? TRY(source_->add_file(directory.number, found.name)) : 0;
    const auto inode = TRY(add_inode(fd, found, key));
    TRY_DOING(printable(found.path), tree_.link(directory.inode, found.name, inode));
    if (shared) linked_.emplace(identity, Linked{.inode = inode, .names_left = status.stx_nlink - 1});
    // By name below /proc/self/fd: listxattr has no form for a directory descriptor and a name (before Linux 6.13).
    if (!whiteout) TRY(read_xattrs(inode, cat(os::path_of(fd), '/', found.name), found.path));
    if (is_directory && !found.covered)
        pending_.push_back({.number = TRY(source_->add_directory(directory.number, found.name)),
                            .inode = inode,
                            .mount = status.stx_mnt_id,
                            .depth = directory.depth + 1});
    return {};
}

Result<> Scan::read_directory(const Pending& directory)
{
    const std::string path = source_->path_of(directory.number);
    auto opened = source_->open_directory(directory.number);
    if (!opened) {
        const int number = opened.error().os_errno();
        if (number == ENOENT || number == ENOTDIR || number == ELOOP || number == EXDEV) return changed(path);
        return fail(std::move(opened).error());
    }
    const int fd = opened->get();
    const auto own = TRY(status_of(fd, "", path));
    if (own.stx_mnt_id != directory.mount) return changed(path);

    const std::unique_ptr<DIR, int (*)(DIR*)> stream{::fdopendir(opened->release()), &::closedir};
    if (!stream) {
        const os::Fd closed{fd};
        return fail_os(errno, cat("list ", printable(path)));
    }
    errno = 0;
    while (const dirent* const entry = ::readdir(stream.get())) {
        Found found{.name = entry->d_name, .path = {}, .status = {}, .covered = false};
        if (found.name == "." || found.name == "..") continue;
        found.path = path == "." ? found.name : cat(path, '/', found.name);
        found.status = TRY(status_of(fd, found.name, found.path));
        found.covered = !options_.cross_mounts && found.status.stx_mnt_id != directory.mount;
        TRY(read_entry(directory, fd, found));
        errno = 0;
    }
    if (errno != 0) return fail_os(errno, cat("list ", printable(path)));
    return {};
}

Result<Tree> Scan::run()
{
    const auto fd = TRY(source_->open_directory(0));
    const auto status = TRY(status_of(fd.get(), "", "."));
    TRY_DOING("the root directory", tree_.set_attributes(Tree::root(), attributes_of(status)));
    TRY(read_xattrs(Tree::root(), cat(os::path_of(fd.get()), "/."), "."));
    pending_.push_back({.number = 0, .inode = Tree::root(), .mount = status.stx_mnt_id, .depth = 0});
    for (std::size_t next = 0; next < pending_.size(); ++next)
        TRY(read_directory(Pending{pending_[next]}));
    tree_.sort();
    return std::move(tree_);
}

} // namespace

Result<Tree> read_tree(const os::Fd& directory, ScanOptions options)
{
    auto root = TRY(os::open_at(directory.get(), ".", O_RDONLY | O_DIRECTORY));
    return Scan{std::make_shared<DirectorySource>(std::move(root)), std::move(options)}.run();
}

} // namespace coppice::vdisk
