#include "directory_source.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <cerrno>

namespace coppice::vdisk {

namespace {

constexpr std::size_t kMostPathBytes = 4000; // one system call takes 4095

/// Opens a path of any length below `root`: a long one in several steps.
Result<os::Fd> open_below(const os::Fd& root, std::string_view path, int flags)
{
    os::Fd directory;
    while (path.size() > kMostPathBytes) {
        const auto slash = path.rfind('/', kMostPathBytes);
        COPPICE_CHECK(slash != std::string_view::npos && slash > 0);
        directory = TRY(os::open_beneath(directory.is_open() ? directory.get() : root.get(),
                                         std::string{path.substr(0, slash)}, O_PATH | O_DIRECTORY));
        path.remove_prefix(slash + 1);
    }
    return os::open_beneath(directory.is_open() ? directory.get() : root.get(), std::string{path}, flags);
}

} // namespace

DirectorySource::DirectorySource(os::Fd root) : root_{std::move(root)}
{
    directories_.push_back({.parent = 0, .name = 0});
}

Result<std::uint32_t> DirectorySource::add_directory(std::uint32_t parent, std::string_view name)
{
    directories_.push_back({.parent = parent, .name = TRY(names_.intern(name))});
    return static_cast<std::uint32_t>(directories_.size() - 1);
}

Result<std::uint64_t> DirectorySource::add_file(std::uint32_t directory, std::string_view name)
{
    return (static_cast<std::uint64_t>(directory) << 32U) | TRY(names_.intern(name));
}

std::string DirectorySource::path_of(std::uint32_t directory) const
{
    if (directory == 0) return ".";
    std::vector<std::string_view> names;
    for (; directory != 0; directory = directories_[directory].parent)
        names.push_back(names_.get(directories_[directory].name));
    std::string path;
    for (auto name = names.rbegin(); name != names.rend(); ++name)
        path += cat(path.empty() ? "" : "/", *name);
    return path;
}

Result<os::Fd> DirectorySource::open_directory(std::uint32_t directory) const
{
    return open_below(root_, path_of(directory), O_RDONLY | O_DIRECTORY);
}

Result<std::unique_ptr<OpenContent>> DirectorySource::open(std::uint64_t key, std::uint64_t bytes) const
{
    const auto directory = static_cast<std::uint32_t>(key >> 32U);
    const auto name = names_.get(static_cast<StringPool::Id>(key));
    const std::string path = directory == 0 ? std::string{name} : cat(path_of(directory), '/', name);
    auto file = open_below(root_, path, O_RDONLY | O_NONBLOCK | O_NOCTTY); // it may have become a FIFO
    if (file) return open_whole_file(*std::move(file), bytes);
    const int number = file.error().os_errno();
    if (number == ENOENT || number == ENOTDIR || number == ELOOP || number == EXDEV || number == ENXIO)
        return fail(ErrorKind::Conflict, "the file was changed since it was listed");
    return fail(std::move(file).error());
}

} // namespace coppice::vdisk
