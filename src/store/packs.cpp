#include "packs.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"

namespace coppice::store {

namespace {

constexpr std::size_t kWriteBytes = 1U << 20; // appended chunks are written together
constexpr std::size_t kOpenPacksMax = 128;    // descriptors kept for readers
constexpr std::string_view kSuffix = ".pack";

} // namespace

Result<Place> PackWriter::append(const Chunk& chunk, std::string_view stored)
{
    const auto header = encode_chunk_header(chunk, number_, bytes_);
    buffer_.append(header.data(), header.size());
    buffer_.append(stored);
    const Place place{.pack = number_, .offset = bytes_ + kChunkHeaderBytes};
    bytes_ += kChunkHeaderBytes + stored.size();
    if (buffer_.size() >= kWriteBytes) TRY(flush());
    return place;
}

Result<> PackWriter::flush()
{
    if (buffer_.empty()) return {};
    const std::uint64_t at = bytes_ - buffer_.size();
    TRY(os::write_at(file_.get(), buffer_, at, Packs::file_name(number_)));
    // The disk starts now, so that there is little left to wait for when it is asked to be done.
    os::begin_writeback(file_.get(), at, buffer_.size());
    buffer_.clear();
    return {};
}

std::string Packs::file_name(std::uint64_t number) { return cat(number, kSuffix); }

Result<PackWriter> Packs::create(std::uint64_t number)
{
    auto file = TRY(os::open_at(directory_.get(), file_name(number), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    TRY(os::sync_directory(directory_.get(), "packs/"));
    PackWriter writer{std::move(file), number};
    const auto header = encode_pack_header(number);
    writer.buffer_.append(header.data(), header.size());
    writer.bytes_ = header.size();
    return writer;
}

Result<std::shared_ptr<const os::Fd>> Packs::open(std::uint64_t number) const
{
    const std::lock_guard lock{mutex_};
    if (const auto found = open_.find(number); found != open_.end()) return found->second;
    auto file =
        std::make_shared<const os::Fd>(TRY(os::open_at(directory_.get(), file_name(number), O_RDONLY | O_NOFOLLOW)));
    if (open_.size() >= kOpenPacksMax) open_.erase(open_.begin()); // the oldest pack; whoever reads it keeps it open
    open_.emplace(number, file);
    return file;
}

Result<std::string> Packs::read(const Place& place, std::size_t size) const
{
    const auto file = TRY(open(place.pack));
    std::string bytes(size, '\0');
    TRY(os::read_at(file->get(), bytes.data(), size, place.offset, file_name(place.pack)));
    return bytes;
}

Result<> Packs::punch(std::uint64_t number, const std::vector<HoleRow>& holes) const
{
    const auto name = file_name(number);
    const auto file = os::open_at(directory_.get(), name, O_WRONLY | O_NOFOLLOW);
    if (!file) return file.error().kind() == ErrorKind::NotFound ? Result<>{} : fail(file.error());
    for (const HoleRow& hole : holes) {
        // Whole blocks only: of those at the ends nothing comes free, but they would be read and written for zeros.
        const std::uint64_t begin = (hole.offset + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
        const std::uint64_t end = (hole.offset + hole.bytes) / kBlockBytes * kBlockBytes;
        if (end <= begin) continue;
        if (!TRY(os::punch_hole(file->get(), begin, end - begin, name)))
            return {}; // this file system cannot: the space comes back with the whole pack
    }
    return {};
}

Result<> Packs::cut(std::uint64_t number, std::uint64_t bytes) const
{
    const auto file = TRY(os::open_at(directory_.get(), file_name(number), O_WRONLY | O_NOFOLLOW));
    return os::truncate(file.get(), bytes, file_name(number));
}

Result<> Packs::remove(std::uint64_t number) const
{
    {
        const std::lock_guard lock{mutex_};
        open_.erase(number);
    }
    return os::remove_file(directory_.get(), file_name(number));
}

Result<> Packs::sync() const { return os::sync_directory(directory_.get(), "packs/"); }

Result<std::map<std::uint64_t, std::uint64_t>> Packs::list() const
{
    std::map<std::uint64_t, std::uint64_t> packs;
    for (const std::string& name : TRY(os::list_directory(directory_.get(), "."))) {
        const std::string_view view{name};
        if (!view.ends_with(kSuffix)) continue;
        const auto number = parse_integer(view.substr(0, view.size() - kSuffix.size()), 1, INT64_MAX);
        if (!number || file_name(static_cast<std::uint64_t>(*number)) != name) continue;
        const auto status = TRY(os::find_status(directory_.get(), name, false));
        if (status && S_ISREG(status->st_mode))
            packs.emplace(static_cast<std::uint64_t>(*number), static_cast<std::uint64_t>(status->st_size));
    }
    return packs;
}

} // namespace coppice::store
