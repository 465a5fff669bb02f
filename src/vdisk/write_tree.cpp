#include "coppice/vdisk/write_tree.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr std::size_t kPartBytes = 1U << 20;

/// Everything of an inode that is not its content. By descriptor: who may write in the directory could put a link in
/// the place of a name.
Result<> write_attributes(const Tree& tree, InodeId inode, int directory, const std::string& name)
{
    const auto node = TRY(os::open_at(directory, name, O_PATH | O_NOFOLLOW));
    const std::string path = os::path_of(node.get());
    const auto attributes = tree.attributes(inode);
    const std::array<timespec, 2> times{
        timespec{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
        timespec{.tv_sec = attributes.mtime.seconds, .tv_nsec = static_cast<long>(attributes.mtime.nanoseconds)}};
    if (::fchownat(node.get(), "", attributes.uid, attributes.gid, AT_EMPTY_PATH) < 0)
        return fail_os(errno, cat("set the owner of ", printable(name)));
    // A change of the owner takes set-user-id bits and capabilities away: mode and attributes come after it.
    if (!tree.is_link(inode) && ::chmod(path.c_str(), attributes.mode & 07777) < 0)
        return fail_os(errno, cat("set the mode of ", printable(name)));
    for (const Xattr& xattr : tree.xattrs(inode))
        if (::setxattr(path.c_str(), xattr.name.c_str(), xattr.value.data(), xattr.value.size(), 0) < 0)
            return fail_os(errno, cat("set attribute ", printable(xattr.name), " of ", printable(name)));
    if (::utimensat(node.get(), "", times.data(), AT_EMPTY_PATH) < 0)
        return fail_os(errno, cat("set the time of ", printable(name)));
    return {};
}

/// What was written so far, and who asks whether to go on.
struct Written {
    const store::Watch& watch;
    std::uint64_t bytes = 0;
    Result<> add(std::uint64_t more) { return watch(bytes += more); }
};

Result<> write_content(const Tree& tree, InodeId inode, int directory, const std::string& name, Written& written)
{
    const auto file = TRY(os::open_at(directory, name, O_WRONLY | O_CREAT | O_EXCL, 0600));
    const auto size = tree.size(inode);
    if (size == 0) return {};
    const auto content = TRY(tree.open_content(inode));
    // Holes stay holes: 4 TiB of them may be all that is in a small image.
    if (::ftruncate(file.get(), static_cast<off_t>(size)) < 0) return fail_os(errno, cat("write ", printable(name)));
    std::string part;
    for (std::uint64_t at = content->next_data(0); at < size; at = content->next_data(at + part.size())) {
        part.resize(std::min<std::uint64_t>(kPartBytes, size - at));
        TRY(content->read(at, part));
        if (part.find_first_not_of('\0') == std::string::npos) continue;
        if (::lseek(file.get(), static_cast<off_t>(at), SEEK_SET) < 0)
            return fail_os(errno, cat("write ", printable(name)));
        TRY(os::write_all(file.get(), part, printable(name)));
        TRY(written.add(part.size()));
    }
    return content->check_unchanged();
}

Result<> make_entry(const Tree& tree, InodeId inode, int directory, const std::string& name, Written& written)
{
    if (tree.is_file(inode)) return write_content(tree, inode, directory, name, written);
    const auto device = tree.device(inode);
    const int made = tree.is_link(inode)
                         ? ::symlinkat(std::string{tree.target(inode)}.c_str(), directory, name.c_str())
                         : ::mknodat(directory, name.c_str(), tree.mode(inode), makedev(device.major, device.minor));
    return made == 0 ? Result<>{} : fail_os(errno, cat("make ", printable(name)));
}

/// The directory `name`, made when missing. True with it if it was.
Result<bool> make_directory(const Tree& tree, InodeId inode, int parent, const std::string& name)
{
    const auto there = TRY(os::find_status(parent, name, false));
    if (there && S_ISDIR(there->st_mode)) return false;
    if (there) TRY(os::remove_file(parent, name));
    TRY(os::make_directory(parent, name, 0700));
    TRY(write_attributes(tree, inode, parent, name));
    return true;
}

Result<> write_entry(const Tree& tree, InodeId inode, int parent, const std::string& name, Written& written)
{
    TRY(written.add(0));
    if (tree.is_directory(inode)) {
        TRY(make_directory(tree, inode, parent, name));
        const auto directory = TRY(os::open_at(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        for (const auto& entry : tree.entries(inode))
            TRY(write_entry(tree, entry.inode, directory.get(), std::string{entry.name}, written));
        return write_attributes(tree, inode, parent, name); // its time changed by what came into it
    }
    const std::string fresh = cat(".coppice-", random_hex(16));
    auto made = make_entry(tree, inode, parent, fresh, written);
    if (made) made = write_attributes(tree, inode, parent, fresh);
    const auto there = os::find_status(parent, name, false);
    if (made && there && *there && S_ISDIR((*there)->st_mode)) made = os::remove_tree(parent, name);
    if (made && ::renameat(parent, fresh.c_str(), parent, name.c_str()) < 0)
        made = fail_os(errno, cat("put ", printable(name), " in place"));
    if (!made) TRY(os::remove_file(parent, fresh));
    return made;
}

} // namespace

Result<> write_tree(const Tree& tree, const std::string& path, int root, const store::Watch& watch)
{
    Written written{.watch = watch};
    const auto wanted = tree.find_path(path);
    if (!wanted) return fail(ErrorKind::NotFound, cat(printable(path), " is not in the snapshot"));
    std::vector<std::string_view> names = split(path, '/');
    std::erase(names, std::string_view{});
    if (names.empty()) {
        for (const auto& entry : tree.entries(Tree::root()))
            TRY(write_entry(tree, entry.inode, root, std::string{entry.name}, written));
        return {};
    }
    std::string above; // of the directory that `path` is in
    auto at = Tree::root();
    for (std::size_t i = 0; i + 1 < names.size(); ++i) {
        at = *tree.find(at, names[i]);
        const std::string name{names[i]};
        const auto parent = TRY(os::open_in_root(root, above.empty() ? "." : above, O_RDONLY | O_DIRECTORY));
        // A link to a directory will do; it is followed below.
        if (!os::exists(parent.get(), name)) TRY(make_directory(tree, at, parent.get(), name));
        above += cat(above.empty() ? "" : "/", name);
    }
    const auto parent = TRY(os::open_in_root(root, above.empty() ? "." : above, O_RDONLY | O_DIRECTORY));
    return write_entry(tree, *wanted, parent.get(), std::string{names.back()}, written);
}

} // namespace coppice::vdisk
