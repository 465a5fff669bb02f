#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <dirent.h>
#include <memory>
#include <unistd.h>

namespace coppice::os {

namespace {

/// Directories nested deeper than this below the one being emptied are moved up into it first: whoever filled the tree
/// decides its depth, and descriptors and stack are bounded.
constexpr int kDeepest = 64;

bool is_not_empty(int number) { return number == ENOTEMPTY || number == EEXIST; }

/// Empties one directory tree.
class TreeRemover {
public:
    TreeRemover(int top, dev_t device) : top_{top}, device_{device} {}

    Result<> empty(Fd directory, const std::string& shown, int depth) const
    {
        const std::unique_ptr<DIR, int (*)(DIR*)> stream{::fdopendir(directory.get()), &::closedir};
        if (!stream) return fail_os(errno, cat("list ", shown));
        const int fd = directory.release();
        while (const dirent* const entry = ::readdir(stream.get())) {
            const std::string name{entry->d_name};
            if (name == "." || name == "..") continue;
            if (entry->d_type != DT_DIR) {
                if (::unlinkat(fd, name.c_str(), 0) == 0 || errno == ENOENT) continue;
                if (errno != EISDIR && errno != EPERM) return fail_os(errno, cat("remove ", shown, '/', name));
            }
            TRY(remove_directory(fd, name, cat(shown, '/', name), depth));
        }
        return {};
    }

private:
    Result<> remove_directory(int dir, const std::string& name, const std::string& shown, int depth) const
    {
        if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
        if (!is_not_empty(errno)) return fail_os(errno, cat("remove ", shown));
        if (depth >= kDeepest) {
            // A mount point cannot be renamed (EBUSY), so this moves only what belongs to the tree.
            if (::renameat(dir, name.c_str(), top_, cat(".deep-", random_hex(16)).c_str()) == 0 || errno == ENOENT)
                return {};
            return fail_os(errno, cat("remove ", shown));
        }
        auto opened = TRY(open_at(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
        struct stat status{};
        if (::fstat(opened.get(), &status) < 0) return fail_os(errno, cat("stat ", shown));
        if (status.st_dev != device_)
            return fail(
                Error{ErrorKind::Conflict, cat("remove ", shown, ": another file system is mounted there")}.hint(
                    "unmount it first"));
        TRY(empty(std::move(opened), shown, depth + 1));
        if (::unlinkat(dir, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
        return fail_os(errno, cat("remove ", shown));
    }

    int top_; ///< where what is too deep is moved to
    dev_t device_;
};

} // namespace

Result<> remove_tree(int dir, const std::string& path)
{
    const auto status = TRY(find_status(dir, path, false));
    if (!status) return {};
    if (!S_ISDIR(status->st_mode)) return remove_file(dir, path);
    if (::unlinkat(dir, path.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    if (!is_not_empty(errno)) return fail_os(errno, cat("remove ", path));
    const auto top = TRY(open_at(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    const TreeRemover remover{top.get(), status->st_dev};
    do { // again for what was moved up; each round takes kDeepest levels off
        TRY(remover.empty(TRY(open_at(dir, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)), path, 0));
        if (::unlinkat(dir, path.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    } while (is_not_empty(errno));
    return fail_os(errno, cat("remove ", path));
}

} // namespace coppice::os
