#include "coppice/import/disk_image.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"
#include "coppice/os/loop_device.h"
#include "coppice/os/mount.h"
#include "file_system_type.h"
#include "list_tree.h"
#include "partition_table.h"
#include "qcow.h"

#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::imports {

namespace {

Result<std::string> read_part(const os::Fd& disk, std::uint64_t offset, std::size_t bytes)
{
    std::string part(bytes, '\0');
    std::size_t filled = 0;
    while (filled < bytes) {
        const auto got = os::retry_eintr([&] {
            return ::pread(disk.get(), part.data() + filled, bytes - filled, static_cast<off_t>(offset + filled));
        });
        if (got < 0) return fail_os(errno, "read the disk image");
        if (got == 0) break;
        filled += static_cast<std::size_t>(got);
    }
    part.resize(filled);
    return part;
}

std::string list_of(const std::vector<Partition>& partitions, const ReadDisk& read)
{
    std::string list;
    for (const Partition& partition : partitions) {
        const auto type = file_system_at(read, partition.offset);
        list += cat(list.empty() ? "" : ", ", "partition ", partition.number, " (", format_bytes(partition.bytes),
                    type && !type->empty() ? " " + *type : "", ")");
    }
    return list.empty() ? "no partitions" : list;
}

Result<Partition> choose_partition(const std::vector<Partition>& all, std::optional<unsigned> wanted,
                                   const ReadDisk& read)
{
    std::vector<Partition> roots, others;
    for (const Partition& partition : all) {
        if (wanted && partition.number == *wanted) return partition;
        if (wanted || TRY(file_system_at(read, partition.offset)).empty()) continue;
        if (partition.linux_root) roots.push_back(partition);
        if (partition.linux_data) others.push_back(partition);
    }
    if (roots.size() == 1) return roots.front();
    if (roots.empty() && others.size() == 1) return others.front();
    return fail(Error{ErrorKind::Invalid, wanted ? cat("the disk has no partition ", *wanted)
                                                 : "the disk has no partition that must be the root, or several"}
                    .hint(cat("there are: ", list_of(all, read))));
}

Result<os::Fd> mount_disk(const os::Fd& disk, const std::string& path, const std::string& type,
                          const os::LoopDevice::Range& range)
{
    const auto device = TRY(os::LoopDevice::over(disk, path, range));
    os::FsParameters parameters{{"source", device.path()}, {"ro", ""}};
    if (type == "xfs") parameters.emplace_back("nouuid", "");
    constexpr auto kAttributes = os::mount_attr::kReadOnly | os::mount_attr::kNoSuid | os::mount_attr::kNoDev |
                                 os::mount_attr::kNoExec | os::mount_attr::kNoAtime;
    auto mount = os::new_file_system(type, parameters, kAttributes);
    if (mount) return mount;
    const std::string words = mount.error().hint_text();
    const int number = mount.error().os_errno();
    const auto kind = number == EUCLEAN || number == EBADMSG ? ErrorKind::Corrupt : mount.error().kind();
    return fail(std::move(mount)
                    .error()
                    .as(kind)
                    .with(cat("mount the ", type, " file system"))
                    .hint(cat(words, words.empty() ? "" : "; ",
                              "if its machine was not shut down cleanly, do that or run fsck")));
}

} // namespace

Result<Imported> import_disk(const std::string& path, std::optional<unsigned> partition, const Context& context)
{
    auto disk = TRY(os::open_at(os::kCwd, path, O_RDONLY | O_NONBLOCK));
    struct stat status{};
    if (::fstat(disk.get(), &status) < 0) return fail_os(errno, cat("stat ", path));
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return fail(ErrorKind::Invalid, cat(path, " is neither a file nor a block device"));
    context.progress({.stage = "reading the disk image"});
    const auto header = TRY(read_part(disk, 0, kQcowHeaderBytes));
    if (is_qcow(header)) {
        TRY_DOING(path, check_qcow(header, context.limits)); // before much is copied
        disk = TRY_DOING(path, convert_qcow(disk, context));
    }
    const auto end = ::lseek(disk.get(), 0, SEEK_END);
    if (end < 0) return fail_os(errno, cat("size of ", path));
    const auto bytes = static_cast<std::uint64_t>(end);

    const ReadDisk read = [&](std::uint64_t offset, std::size_t size) { return read_part(disk, offset, size); };
    std::string type = partition ? "" : TRY(file_system_at(read, 0));
    os::LoopDevice::Range range;
    if (type.empty()) {
        const auto partitions = TRY_DOING(path, read_partitions(read, bytes));
        if (partitions.empty())
            return fail(ErrorKind::Invalid, cat(path, " has neither a known file system nor a partition table"));
        const auto chosen = TRY_DOING(path, choose_partition(partitions, partition, read));
        range = {.offset = chosen.offset, .bytes = chosen.bytes};
        type = TRY(file_system_at(read, chosen.offset));
        if (type.empty())
            return fail(ErrorKind::Unsupported, cat(path, ": partition ", chosen.number, " has no known file system"));
    }
    auto mount = TRY_DOING(path, mount_disk(disk, path, type, range));
    Imported imported;
    imported.tree = TRY_DOING(path, list_tree(mount, context));
    imported.held.push_back(std::move(mount));
    return imported;
}

} // namespace coppice::imports
