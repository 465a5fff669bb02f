#include "byte_stream.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::imports {

namespace {

constexpr std::size_t kBufferBytes = 128U << 10;
constexpr int kPauseMilliseconds = 200;

std::unexpected<Error> cut_short(std::string_view name) { return fail(ErrorKind::Corrupt, cat(name, " is cut short")); }

} // namespace

Result<> ByteStream::skip(std::uint64_t bytes)
{
    std::string buffer(std::min<std::uint64_t>(bytes, kBufferBytes), '\0');
    while (bytes > 0) {
        const std::size_t wanted = std::min<std::uint64_t>(bytes, buffer.size());
        const std::size_t got = TRY(read({buffer.data(), wanted}));
        if (got == 0) return cut_short("the input");
        bytes -= got;
    }
    return {};
}

Result<std::size_t> read_full(ByteStream& stream, std::span<char> out)
{
    std::size_t filled = 0;
    while (filled < out.size()) {
        const std::size_t got = TRY(stream.read(out.subspan(filled)));
        if (got == 0) break;
        filled += got;
    }
    return filled;
}

Result<std::string> read_rest(ByteStream& stream, std::size_t most, std::string_view name)
{
    std::string all;
    std::string buffer(std::min(most + 1, kBufferBytes), '\0');
    for (;;) {
        const std::size_t got = TRY(stream.read(buffer));
        if (got == 0) return all;
        if (got > most - all.size()) return fail(ErrorKind::Invalid, cat(name, " is longer than ", most, " bytes"));
        all.append(buffer, 0, got);
    }
}

FileStream::FileStream(os::Fd file, std::string name, std::stop_token stop)
    : file_{std::move(file)}, name_{std::move(name)}, stop_{std::move(stop)}
{
    struct stat status{};
    if (::fstat(file_.get(), &status) < 0 || !S_ISREG(status.st_mode)) return;
    const auto at = ::lseek(file_.get(), 0, SEEK_CUR);
    if (at >= 0) left_ = static_cast<std::uint64_t>(std::max<off_t>(0, status.st_size - at));
}

/// A pipe may be silent for long, and a stop request must be heard then, too.
Result<> FileStream::wait() const
{
    pollfd wanted{.fd = file_.get(), .events = POLLIN, .revents = 0};
    for (int ready = 0; ready == 0;) {
        TRY(check_stop(stop_));
        ready = os::retry_eintr([&] { return ::poll(&wanted, 1, kPauseMilliseconds); });
        if (ready < 0) return fail_os(errno, cat("wait for ", name_));
    }
    return {};
}

Result<std::size_t> FileStream::read(std::span<char> out)
{
    TRY(check_stop(stop_));
    if (!left_) TRY(wait());
    const auto got = os::retry_eintr([&] { return ::read(file_.get(), out.data(), out.size()); });
    if (got < 0) return fail_os(errno, cat("read ", name_));
    const auto bytes = static_cast<std::size_t>(got);
    if (left_) *left_ -= std::min<std::uint64_t>(*left_, bytes);
    position_ += bytes;
    return bytes;
}

Result<> FileStream::skip(std::uint64_t bytes)
{
    if (!left_) return ByteStream::skip(bytes);
    if (bytes > *left_) return cut_short(name_);
    if (::lseek(file_.get(), static_cast<off_t>(bytes), SEEK_CUR) < 0) return fail_os(errno, cat("read ", name_));
    *left_ -= bytes;
    position_ += bytes;
    return check_stop(stop_);
}

Result<std::size_t> HashingStream::read(std::span<char> out)
{
    const std::size_t got = TRY(inner_->read(out));
    hash_.update({out.data(), got});
    bytes_ += got;
    return got;
}

Result<security::Sha256Digest> HashingStream::finish()
{
    std::string buffer(kBufferBytes, '\0');
    while (TRY(read(buffer)) > 0) {
    }
    return hash_.finish();
}

} // namespace coppice::imports
