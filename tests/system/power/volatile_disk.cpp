// The disk of a user-mode Linux as one with a volatile write cache: loaded into linux.uml (LD_PRELOAD), it notes what
// each write to the image overwrites, and forgets its notes when the guest flushes the disk. After a power cut the
// notes say which writes a disk was still free to lose, in any order; cut.py takes some of them back.
//
// COPPICE_DISK: the image, COPPICE_DISK_NOTES: the notes, each: offset, length (64 bits), the old bytes. Whatever is
// done to the image is done by one thread of UML, which has no memory to allocate from: system calls only.

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

struct stat disk;
int notes = -1;

__attribute__((constructor)) void open_notes()
{
    const char* const image = std::getenv("COPPICE_DISK");
    const char* const path = std::getenv("COPPICE_DISK_NOTES");
    if (image == nullptr || path == nullptr || ::stat(image, &disk) != 0) return;
    const int opened = ::open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (opened >= 0) notes = ::fcntl(opened, F_DUPFD, 500);
    ::close(opened);
}

bool is_disk(int fd)
{
    struct stat status;
    return notes >= 0 && ::fstat(fd, &status) == 0 && status.st_dev == disk.st_dev && status.st_ino == disk.st_ino;
}

char old[1U << 20];

/// Notes what a write overwrites. The image has its full size from the beginning.
bool note(int fd, std::uint64_t offset, std::size_t size)
{
    while (size > 0) {
        const std::size_t part = size < sizeof old ? size : sizeof old;
        if (::syscall(SYS_pread64, fd, old, part, offset) != static_cast<long>(part)) return false;
        std::uint64_t head[2] = {offset, part};
        const iovec parts[2] = {{head, sizeof head}, {old, part}};
        if (::syscall(SYS_writev, notes, parts, 2) != static_cast<long>(sizeof head + part)) return false;
        offset += part;
        size -= part;
    }
    return true;
}

int flush(int fd, long number)
{
    if (!is_disk(fd)) return static_cast<int>(::syscall(number, fd));
    return ::ftruncate(notes, 0); // to survive the guest, data need not reach the host's disk
}

} // namespace

extern "C" {

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset)
{
    if (is_disk(fd) && !note(fd, static_cast<std::uint64_t>(offset), size)) {
        errno = EIO;
        return -1;
    }
    return ::syscall(SYS_pwrite64, fd, data, size, offset);
}
int fsync(int fd) { return flush(fd, SYS_fsync); }
int fdatasync(int fd) { return flush(fd, SYS_fdatasync); }
int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
    if (!is_disk(fd)) return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, size));
    errno = EOPNOTSUPP; // this disk has no discard
    return -1;
}
}
