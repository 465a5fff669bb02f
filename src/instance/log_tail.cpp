#include "log_tail.h"

#include "coppice/os/file.h"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace coppice::instance {

namespace {

constexpr std::uint64_t kBlockBytes = 64U << 10;
/// A stream that is silent for long must not have us read the whole log for the beginning of its last line.
constexpr std::uint64_t kSearchBytes = 1U << 20;

} // namespace

Result<LinesBackward> LinesBackward::open(const os::Fd& file)
{
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, "stat the log");
    LinesBackward lines{file.get(), static_cast<std::uint64_t>(status.st_size)};
    const auto last = TRY(lines.next()); // without an end: it is just being written, or was cut off
    if (last) lines.end_ = last->offset;
    return lines;
}

/// @returns whether there was anything
Result<bool> LinesBackward::read_before()
{
    const std::uint64_t bytes = std::min(start_, kBlockBytes);
    if (bytes == 0) return false;
    std::string block(bytes, '\0');
    const auto got =
        os::retry_eintr([&] { return ::pread(file_, block.data(), block.size(), static_cast<off_t>(start_ - bytes)); });
    if (got < 0) return fail_os(errno, "read the log");
    if (static_cast<std::uint64_t>(got) != bytes) return fail(ErrorKind::Corrupt, "the log has become shorter");
    start_ -= bytes;
    if (left_ <= kRecordMost) block.append(held_, 0, left_); // what is longer is no record
    held_ = std::move(block);
    left_ = held_.size();
    return true;
}

Result<std::optional<LinesBackward::Line>> LinesBackward::next()
{
    for (;;) {
        const auto held = std::string_view{held_}.substr(0, left_);
        const auto end = held.rfind('\n');
        if (end != std::string_view::npos) {
            left_ = end;
            return Line{.offset = start_ + end + 1, .text = held.substr(end + 1)};
        }
        if (TRY(read_before())) continue;
        if (left_ == 0) return std::optional<Line>{};
        left_ = 0;
        return Line{.offset = 0, .text = held};
    }
}

bool TailCount::take(const LogRecord& record)
{
    if (left_ == 0) searched_bytes_ += size_of(record);
    Seen& seen = seen_[static_cast<std::size_t>(record.stream)];
    const bool ends_line = !record.is_partial || seen == Seen::Nothing; // the last one may lack its end
    if (ends_line) {
        seen = left_ > 0 ? Seen::Wanted : Seen::Unwanted;
        if (left_ > 0) --left_;
    }
    return seen == Seen::Wanted;
}

bool TailCount::is_done() const
{
    if (left_ > 0) return false;
    return searched_bytes_ > kSearchBytes || std::find(seen_.begin(), seen_.end(), Seen::Wanted) == seen_.end();
}

} // namespace coppice::instance
