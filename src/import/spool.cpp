#include "spool.h"

#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"

namespace coppice::imports {

namespace {

constexpr std::uint64_t kHoleBytes = 4096; // a file with holes begins at a block, so that they can be ones
constexpr std::string_view kName = "the spool file";

} // namespace

Result<std::uint64_t> write_around_zeros(int file, std::string_view bytes, std::uint64_t at, std::string_view name)
{
    std::size_t begin = 0; // of what is not written yet
    std::uint64_t end = 0;
    const auto write_up_to = [&](std::size_t to) -> Result<> {
        if (to > begin) end = at + to;
        return os::write_at(file, bytes.substr(begin, to - begin), at + begin, name);
    };
    for (std::size_t i = 0; i < bytes.size();) {
        const std::size_t next = std::min<std::uint64_t>(bytes.size(), i + kHoleBytes - (at + i) % kHoleBytes);
        if (bytes.substr(i, next - i).find_first_not_of('\0') == std::string_view::npos) {
            TRY(write_up_to(i));
            begin = next;
        }
        i = next;
    }
    TRY(write_up_to(bytes.size()));
    return end;
}

Result<std::unique_ptr<Spool>> Spool::make(int directory)
{
    auto file = TRY_DOING("make a spool file", os::open_at(directory, ".", O_TMPFILE | O_RDWR, 0600));
    auto reading = TRY(file.duplicate());
    auto source = std::make_shared<const vdisk::RangeSource>(std::move(reading), std::string{kName},
                                                             vdisk::RangeSource::Holes::Some);
    return std::unique_ptr<Spool>{new Spool{std::move(file), std::move(source)}};
}

Result<Contents::Place> Spool::take(const TarEntry& entry, TarReader& reader)
{
    if (entry.sparse) end_ = (end_ + kHoleBytes - 1) / kHoleBytes * kHoleBytes;
    const std::uint64_t begin = end_;
    std::vector<DataPart> whole{{.offset = 0, .bytes = entry.size}};
    for (const DataPart& part : entry.sparse ? entry.parts : whole) {
        std::uint64_t at = begin + part.offset;
        for (std::uint64_t left = part.bytes; left > 0;) {
            const std::size_t got = TRY(reader.read({buffer_.data(), std::min<std::uint64_t>(left, buffer_.size())}));
            if (got == 0) return fail(ErrorKind::Corrupt, "the archive has less data than it says");
            written_ = std::max(written_, TRY(write_around_zeros(file_.get(), {buffer_.data(), got}, at, kName)));
            at += got;
            left -= got;
        }
    }
    end_ = begin + entry.size;
    if (end_ > written_) TRY(os::truncate(file_.get(), end_, kName)); // a hole at its end
    written_ = std::max(written_, end_);
    return Place{source_, begin};
}

Result<std::unique_ptr<InPlace>> InPlace::make(const os::Fd& archive, std::string name, int spool)
{
    auto source = std::make_shared<const vdisk::RangeSource>(TRY(archive.duplicate()), std::move(name));
    return std::unique_ptr<InPlace>{new InPlace{std::move(source), spool}};
}

Result<Contents::Place> InPlace::take(const TarEntry& entry, TarReader& reader)
{
    if (!entry.sparse) return Place{source_, reader.position()};
    if (!spool_) spool_ = TRY(Spool::make(directory_));
    return spool_->take(entry, reader);
}

} // namespace coppice::imports
