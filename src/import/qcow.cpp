#include "qcow.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "decompress.h"
#include "program.h"
#include "spool.h"

#include <cerrno>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::imports {

namespace {

constexpr std::string_view kMagic{"QFI\xfb", 4};
constexpr std::size_t kSizeAt = 24, kCopyBytes = 1U << 20;
constexpr std::uint64_t kExternalData = 1U << 2U; // an incompatible feature
constexpr std::string_view kCopyName = "the copy of the disk image", kRawName = "the disk's content";

std::uint64_t big_endian(std::string_view bytes, std::size_t at, std::size_t size)
{
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < size; ++i)
        value = value << 8U | static_cast<unsigned char>(bytes[at + i]);
    return value;
}

Result<struct stat> status_of(const os::Fd& file, std::string_view name)
{
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, cat("stat ", name));
    return status;
}

std::uint64_t bytes_on_disk(const struct stat& status) { return static_cast<std::uint64_t>(status.st_blocks) * 512; }

/// Unnamed. What the image becomes meanwhile does not matter: the copy is what is checked and read.
Result<os::Fd> copy_of(const os::Fd& image, const Context& context)
{
    auto copy = TRY_DOING(std::string{kCopyName}, os::open_at(context.spool, ".", O_TMPFILE | O_RDWR, 0600));
    if (::ioctl(copy.get(), FICLONE, image.get()) == 0) return copy; // else not the same file system, or none that can
    const auto end = ::lseek(image.get(), 0, SEEK_END);
    if (end < 0) return fail_os(errno, "size of the disk image");
    std::string buffer(kCopyBytes, '\0');
    for (std::uint64_t at = 0;;) {
        TRY(check_stop(context.stop));
        const auto got =
            os::retry_eintr([&] { return ::pread(image.get(), buffer.data(), buffer.size(), static_cast<off_t>(at)); });
        if (got < 0) return fail_os(errno, "read the disk image");
        if (got == 0) {
            TRY(os::truncate(copy.get(), at, kCopyName)); // a hole at its end
            return copy;
        }
        const auto bytes = static_cast<std::uint64_t>(got);
        if (bytes > context.limits.logical_bytes - at)
            return fail(ErrorKind::Unavailable,
                        cat("a disk image of more than ", format_bytes(context.limits.logical_bytes)));
        TRY(write_around_zeros(copy.get(), std::string_view{buffer}.substr(0, bytes), at, kCopyName));
        at += bytes;
        context.progress(
            {.stage = "copying the disk image", .bytes = at, .total_bytes = static_cast<std::uint64_t>(end)});
    }
}

Result<> run_qemu_img(const os::Fd& image, const os::Fd& raw, const std::string& path, const Context& context)
{
    UnpackBudget budget{context.limits};
    budget.pay(bytes_on_disk(TRY(status_of(image, kCopyName))));
    std::uint64_t before = 0;
    const auto watch = [&]() -> Result<> {
        const auto now = bytes_on_disk(TRY(status_of(raw, kRawName)));
        context.progress({.stage = "unpacking the disk image", .bytes = now});
        if (now <= before) return {};
        return budget.take(now - std::exchange(before, now), kRawName);
    };
    // "backing": none, whatever the header says: it is checked, but costs nothing.
    static constexpr const char* kSource = R"(json:{"driver":"qcow2","backing":null,)"
                                           R"("file":{"driver":"file","filename":"/dev/fd/3","locking":"off"}})";
    // With -n the file has its size before.
    return run_program({.arguments = {"qemu-img", "convert", "-n", "-O", "raw", kSource, path},
                        .further = image.get(),
                        .package = "qemu-utils",
                        .watch = watch},
                       context);
}

} // namespace

bool is_qcow(std::string_view header) { return header.starts_with(kMagic); }

Result<std::uint64_t> check_qcow(std::string_view header, const Limits& limits)
{
    if (header.size() < kQcowHeaderBytes || !is_qcow(header))
        return fail(ErrorKind::Corrupt, "a qcow2 image that is cut short");
    const auto version = big_endian(header, 4, 4);
    if (version != 2 && version != 3) return fail(ErrorKind::Unsupported, cat("qcow of version ", version));
    if (big_endian(header, 8, 8) != 0)
        return fail(Error{ErrorKind::Unsupported, "a qcow2 image with a backing file"}.hint(
            "make one file of it: qemu-img convert -O qcow2 IMAGE WHOLE"));
    if (big_endian(header, 32, 4) != 0) return fail(ErrorKind::Unsupported, "an encrypted qcow2 image");
    if (version == 3 && (big_endian(header, 72, 8) & kExternalData) != 0)
        return fail(ErrorKind::Unsupported, "a qcow2 image with an external data file");
    const auto bytes = big_endian(header, kSizeAt, 8);
    if (bytes > limits.logical_bytes) return fail(ErrorKind::Unavailable, cat("a disk of ", format_bytes(bytes)));
    return bytes;
}

Result<os::Fd> convert_qcow(const os::Fd& image, const Context& context)
{
    const auto copy = TRY(copy_of(image, context));
    std::string header(kQcowHeaderBytes, '\0');
    TRY(os::read_at(copy.get(), header.data(), header.size(), 0, kCopyName));
    const auto bytes = TRY(check_qcow(header, context.limits));

    const std::string path = cat(context.spool_path, "/disk-", random_hex(16));
    auto raw = TRY(os::open_at(os::kCwd, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    auto converted = os::truncate(raw.get(), bytes, kRawName);
    if (converted) converted = run_qemu_img(copy, raw, path, context);
    const auto removed = os::remove_file(os::kCwd, path);
    TRY(std::move(converted));
    TRY(removed);
    return raw;
}

} // namespace coppice::imports
