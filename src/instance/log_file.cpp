#include "coppice/instance/log_file.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <unistd.h>

namespace coppice::instance {

namespace {

constexpr std::size_t kBufferBytes = 128U << 10;

Result<std::uint64_t> size_of_file(const os::Fd& file)
{
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, "stat the log");
    return static_cast<std::uint64_t>(status.st_size);
}

bool ends_with_a_line(const os::Fd& file, std::uint64_t size)
{
    char last = 0;
    return size == 0 || (::pread(file.get(), &last, 1, static_cast<off_t>(size) - 1) == 1 && last == '\n');
}

Result<> rename_log(int directory, unsigned from, unsigned to)
{
    if (::renameat(directory, log_name(from).c_str(), directory, log_name(to).c_str()) < 0 && errno != ENOENT)
        return fail_os(errno, "rotate the log");
    return {};
}

} // namespace

LogLimits log_limits(const InstanceConfig& config)
{
    return {.bytes = static_cast<std::uint64_t>(config.log_max_bytes.value_or(kDefaultLogBytes)),
            .files = static_cast<unsigned>(config.log_max_files.value_or(kDefaultLogFiles))};
}

std::string log_name(unsigned number) { return number == 0 ? "log" : cat("log.", number); }

Result<LogFile> LogFile::open(int directory, const LogLimits& limits)
{
    LogFile log{directory, limits};
    for (unsigned more = limits.files; more < kMostLogFiles && TRY(os::is_there(directory, log_name(more))); ++more)
        TRY(os::remove_file(directory, log_name(more))); // of a start with a higher limit
    TRY(log.begin());
    return log;
}

Result<> LogFile::begin()
{
    auto file = TRY_DOING("log", os::open_at(directory_, log_name(0), O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
    size_ = TRY(size_of_file(file));
    // Whoever was killed, or found the disk full, in the middle of a record: it must not swallow the next one.
    buffer_ = ends_with_a_line(file, size_) ? "" : "\n";
    file_ = std::move(file);
    return {};
}

Result<> LogFile::append(LogStream stream, std::string_view output)
{
    if (!file_.is_open()) TRY(begin());
    const std::string time = to_rfc3339(now());
    while (!output.empty()) {
        const auto end = output.substr(0, kRecordTextMost + 1).find('\n');
        const bool is_partial = end == std::string_view::npos;
        const LogRecord record{.time = time,
                               .stream = stream,
                               .is_partial = is_partial,
                               .text = output.substr(0, std::min(end, kRecordTextMost))};
        TRY(make_room(size_of(record)));
        append_record(buffer_, record);
        output.remove_prefix(record.text.size() + (is_partial ? 0 : 1));
    }
    return flush();
}

Result<> LogFile::make_room(std::size_t bytes)
{
    const bool is_full = size_ + buffer_.size() + bytes > limits_.bytes;
    if (is_full || buffer_.size() + bytes > kBufferBytes) TRY(flush());
    return is_full ? rotate() : Result<>{};
}

Result<> LogFile::flush()
{
    auto written = os::write_all(file_.get(), buffer_, log_name(0));
    size_ += buffer_.size();
    buffer_.clear();
    if (!written) file_.reset(); // to be opened anew: who knows how much of it is there
    return written;
}

/// The oldest goes, and each gets a name that is free: what is renamed over another ext4 writes to the disk at once.
Result<> LogFile::rotate()
{
    file_.reset();
    TRY(os::remove_file(directory_, log_name(limits_.files - 1)));
    for (unsigned number = limits_.files - 1; number > 0; --number)
        TRY(rename_log(directory_, number - 1, number));
    return begin();
}

} // namespace coppice::instance
