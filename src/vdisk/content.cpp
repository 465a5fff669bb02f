#include "coppice/vdisk/content.h"

#include "coppice/base/text.h"

#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

Result<> read_exactly(int fd, std::uint64_t offset, std::span<char> out)
{
    while (!out.empty()) {
        const auto got =
            os::retry_eintr([&] { return ::pread(fd, out.data(), out.size(), static_cast<off_t>(offset)); });
        if (got < 0) return fail_os(errno, "read");
        if (got == 0) return fail(ErrorKind::Conflict, "the file became shorter while it was read");
        out = out.subspan(static_cast<std::size_t>(got));
        offset += static_cast<std::uint64_t>(got);
    }
    return {};
}

class Range final : public OpenContent {
public:
    Range(int fd, std::uint64_t start, std::uint64_t bytes, RangeSource::Holes holes)
        : fd_{fd}, start_{start}, bytes_{bytes}, holes_{holes}
    {
    }
    Result<> read(std::uint64_t offset, std::span<char> out) const override
    {
        COPPICE_CHECK(offset <= bytes_ && out.size() <= bytes_ - offset);
        return read_exactly(fd_, start_ + offset, out);
    }
    [[nodiscard]] std::uint64_t next_data(std::uint64_t offset) const override
    {
        if (holes_ == RangeSource::Holes::None) return offset;
        const auto found = ::lseek(fd_, static_cast<off_t>(start_ + offset), SEEK_DATA);
        if (found >= 0) return static_cast<std::uint64_t>(found) - start_;
        return errno == ENXIO ? bytes_ : offset;
    }

private:
    int fd_;
    std::uint64_t start_, bytes_;
    RangeSource::Holes holes_;
};

class WholeFile final : public OpenContent {
public:
    WholeFile(os::Fd file, const struct stat& status) : file_{std::move(file)}, status_{status} {}

    Result<> read(std::uint64_t offset, std::span<char> out) const override
    {
        return read_exactly(file_.get(), offset, out);
    }
    [[nodiscard]] std::uint64_t next_data(std::uint64_t offset) const override
    {
        // Holes are worth asking for in files that have some.
        if (static_cast<std::uint64_t>(status_.st_blocks) * 512 >= static_cast<std::uint64_t>(status_.st_size))
            return offset;
        const auto found = ::lseek(file_.get(), static_cast<off_t>(offset), SEEK_DATA);
        if (found >= 0) return static_cast<std::uint64_t>(found);
        return errno == ENXIO ? static_cast<std::uint64_t>(status_.st_size) : offset; // or it knows no holes
    }
    [[nodiscard]] Result<> check_unchanged() const override
    {
        struct stat now{};
        if (::fstat(file_.get(), &now) < 0) return fail_os(errno, "stat");
        if (now.st_size == status_.st_size && now.st_mtim.tv_sec == status_.st_mtim.tv_sec &&
            now.st_mtim.tv_nsec == status_.st_mtim.tv_nsec)
            return {};
        return fail(ErrorKind::Conflict, "the file was changed while it was read");
    }

private:
    os::Fd file_;
    struct stat status_;
};

} // namespace

Result<std::unique_ptr<OpenContent>> RangeSource::open(std::uint64_t key, std::uint64_t bytes) const
{
    struct stat status{};
    if (::fstat(file_.get(), &status) < 0) return fail_os(errno, cat("stat ", name_));
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (key > size || bytes > size - key) return fail(ErrorKind::Conflict, cat(name_, " is cut short"));
    return std::make_unique<Range>(file_.get(), key, bytes, holes_);
}

Result<std::unique_ptr<OpenContent>> open_whole_file(os::Fd file, std::uint64_t bytes)
{
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, "stat");
    if (!S_ISREG(status.st_mode) || static_cast<std::uint64_t>(status.st_size) != bytes)
        return fail(ErrorKind::Conflict, "the file was changed since it was listed");
    return std::make_unique<WholeFile>(std::move(file), status);
}

} // namespace coppice::vdisk
