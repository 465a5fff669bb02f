#include "sinks.h"

#include "coppice/os/file.h"

#include <zlib.h>

namespace coppice::exports {

namespace {

constexpr std::size_t kBufferBytes = 256U << 10;
constexpr int kGzipOnly = 16 + MAX_WBITS, kMemoryLevel = 9; // zlib.h, deflateInit2
constexpr int kLevel = 6;                                   // what gzip(1) takes without being asked

} // namespace

FileSink::FileSink(int file, std::string name) : file_{file}, name_{std::move(name)} { buffer_.reserve(kBufferBytes); }

Result<> FileSink::write(std::string_view bytes)
{
    if (buffer_.size() + bytes.size() > kBufferBytes) TRY(flush());
    if (bytes.size() >= kBufferBytes) return os::write_all(file_, bytes, name_);
    buffer_ += bytes;
    return {};
}

Result<> FileSink::flush()
{
    TRY(os::write_all(file_, buffer_, name_));
    buffer_.clear();
    return {};
}

Result<> HashingSink::write(std::string_view bytes)
{
    hash_.update(bytes);
    bytes_ += bytes.size();
    return out_->write(bytes);
}

struct GzipSink::State {
    z_stream z{};
};

GzipSink::GzipSink(vdisk::ByteSink& out) : out_{&out}, state_{std::make_unique<State>()}, buffer_(kBufferBytes, '\0')
{
    COPPICE_CHECK(::deflateInit2(&state_->z, kLevel, Z_DEFLATED, kGzipOnly, kMemoryLevel, Z_DEFAULT_STRATEGY) == Z_OK);
}

GzipSink::~GzipSink() { ::deflateEnd(&state_->z); }

Result<> GzipSink::deflate(std::string_view bytes, int flush)
{
    z_stream& z = state_->z;
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    z.avail_in = static_cast<unsigned>(bytes.size()); // of at most 256 KiB
    do {
        z.next_out = reinterpret_cast<Bytef*>(buffer_.data());
        z.avail_out = static_cast<unsigned>(buffer_.size());
        COPPICE_CHECK(::deflate(&z, flush) != Z_STREAM_ERROR);
        TRY(out_->write(std::string_view{buffer_}.substr(0, buffer_.size() - z.avail_out)));
    } while (z.avail_out == 0);
    return {};
}

Result<> GzipSink::write(std::string_view bytes)
{
    while (!bytes.empty()) {
        TRY(deflate(bytes.substr(0, kBufferBytes), Z_NO_FLUSH));
        bytes.remove_prefix(std::min(bytes.size(), kBufferBytes));
    }
    return {};
}

Result<> GzipSink::finish() { return deflate({}, Z_FINISH); }

} // namespace coppice::exports
