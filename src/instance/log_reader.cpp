#include "coppice/instance/log_reader.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/instance/log_file.h"
#include "coppice/os/file.h"
#include "log_tail.h"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace coppice::instance {

namespace {

constexpr std::size_t kBlockBytes = 64U << 10;
/// Files that a slow reader holds, whose disk space is not free while it does.
constexpr std::size_t kHeldFiles = 8;
constexpr std::time_t kLastSecond = INT64_MAX / 1'000'000'000 - 1; // times are counted in nanoseconds

/// "1700000000" or "1700000000.25"
std::optional<timespec> parse_unix_time(std::string_view text)
{
    std::string_view fraction = text;
    const auto seconds = parse_integer(next_part(fraction, '.'), 0, kLastSecond);
    if (!seconds || text.ends_with('.') || fraction.size() > 9) return {};
    const auto nanoseconds = parse_integer(cat(fraction, std::string(9 - fraction.size(), '0')), 0, 999'999'999);
    if (!nanoseconds) return {};
    return timespec{.tv_sec = *seconds, .tv_nsec = *nanoseconds};
}

timespec before(const timespec& now, std::int64_t milliseconds)
{
    const std::int64_t then = now.tv_sec * 1000 + now.tv_nsec / 1'000'000 - milliseconds;
    if (then < 0) return {};
    return {.tv_sec = then / 1000, .tv_nsec = then % 1000 * 1'000'000};
}

Result<std::optional<os::Fd>> open_log(int directory, unsigned number)
{
    auto file = os::open_at(directory, log_name(number), O_RDONLY | O_NOFOLLOW);
    if (file) return std::optional<os::Fd>{*std::move(file)};
    if (file.error().kind() == ErrorKind::NotFound) return std::optional<os::Fd>{};
    return fail(std::move(file).error());
}

Result<ino_t> identity_of(const os::Fd& file)
{
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, "stat the log");
    return status.st_ino;
}

Result<std::optional<ino_t>> identity_of_newest(int directory)
{
    const auto status = TRY(os::find_status(directory, log_name(0), false));
    return status ? std::optional{status->st_ino} : std::nullopt;
}

struct Newer {
    std::deque<os::Fd> files; ///< the oldest first
    bool is_known_there = false;
};

/// From the newest name to the oldest: a rotation begins with the oldest and gives each file the next name, so that
/// none gets past us. One may be met twice.
Result<Newer> walk_newer(int directory, std::optional<ino_t> known)
{
    Newer newer;
    std::optional<ino_t> last;
    for (unsigned number = 0; number < kMostLogFiles && !newer.is_known_there; ++number) {
        auto file = TRY(open_log(directory, number));
        if (!file) continue; // or just being renamed
        const ino_t identity = TRY(identity_of(*file));
        newer.is_known_there = identity == known;
        if (!newer.is_known_there && identity != last) newer.files.push_front(*std::move(file));
        last = identity;
    }
    return newer;
}

/// The files that were begun after `known`, or all, without a rotation between the first and the last look.
Result<Newer> find_newer(int directory, std::optional<ino_t> known)
{
    for (int tries_left = 100;; --tries_left) {
        const auto newest = TRY(identity_of_newest(directory));
        auto newer = TRY(walk_newer(directory, known));
        if (newest == TRY(identity_of_newest(directory)) || tries_left == 0) return newer;
    }
}

bool is_within(const LogQuery& query, std::string_view time)
{
    return time >= query.since && (query.until.empty() || time <= query.until);
}

} // namespace

Result<std::string> parse_log_time(std::string_view text, const timespec& now)
{
    if (const auto time = parse_unix_time(text)) return to_rfc3339(*time);
    if (const auto milliseconds = parse_duration_ms(text)) return to_rfc3339(before(now, *milliseconds));
    if (const auto time = parse_rfc3339(text)) return to_rfc3339(*time);
    return fail(Error{ErrorKind::Invalid, cat('\'', printable(text), "' is no time")}.hint(
        "use 2026-01-31T08:15:00Z, seconds since 1970, or 10m for ten minutes ago"));
}

void append_piece(std::string& out, const LogPiece& piece, bool with_time)
{
    if (with_time && piece.begins_line) out.append(piece.time).append(1, ' ');
    out += piece.text;
    if (piece.ends_line) out += '\n';
}

Result<LogReader> LogReader::open(int directory, LogQuery query)
{
    LogReader reader{directory, std::move(query)};
    reader.files_ = TRY(find_newer(directory, {})).files;
    if (reader.query_.tail) TRY(reader.find_tail());
    return reader;
}

Result<> LogReader::find_tail()
{
    TailCount count{*query_.tail};
    for (std::size_t number = files_.size(); number > 0;) {
        auto lines = TRY(LinesBackward::open(files_[--number]));
        if (number + 1 == files_.size()) lines_.fill({.from = {.file = number, .offset = lines.end()}});
        while (!count.is_done()) {
            const auto line = TRY(lines.next());
            if (!line) break;
            const auto record = parse_record(line->text);
            if (!record || (!query_.until.empty() && record->time > query_.until)) continue;
            if (count.take(*record))
                lines_[static_cast<std::size_t>(record->stream)].from = {.file = number, .offset = line->offset};
        }
        if (count.is_done()) break;
    }
    const Place first = std::min(lines_.front().from, lines_.back().from);
    while (place_.file < first.file)
        leave_file();
    place_ = first;
    return {};
}

void LogReader::leave_file()
{
    if (!rest_.empty()) ++damaged_; // cut off, and never ended
    rest_.clear();
    files_.pop_front();
    place_ = {.file = place_.file + 1, .offset = 0};
}

Result<> LogReader::look_for_newer()
{
    if (!query_.follow || files_.size() >= kHeldFiles) return {};
    std::optional<ino_t> known;
    if (!files_.empty()) known = TRY(identity_of(files_.back()));
    auto newer = TRY(find_newer(directory_, known));
    if (known && !newer.is_known_there && !newer.files.empty()) {
        ++gaps_;
        for (Line& line : lines_)
            line.is_open = false;
    }
    for (os::Fd& file : newer.files)
        if (files_.size() < kHeldFiles) files_.push_back(std::move(file));
    return {};
}

Result<> LogReader::read(const Visit& visit)
{
    for (;;) {
        TRY(look_for_newer());
        if (files_.empty()) return {};
        if (TRY(read_block(visit))) continue;
        if (files_.size() == 1) return {};
        leave_file(); // it had a successor before we found its end: nobody writes to it any more
    }
}

/// @returns whether there was anything
Result<bool> LogReader::read_block(const Visit& visit)
{
    std::string block(kBlockBytes, '\0');
    const auto got = os::retry_eintr(
        [&] { return ::pread(files_.front().get(), block.data(), block.size(), static_cast<off_t>(place_.offset)); });
    if (got < 0) return fail_os(errno, "read the log");
    place_.offset += static_cast<std::uint64_t>(got);
    rest_.append(block, 0, static_cast<std::size_t>(got));
    std::string_view rest = rest_;
    for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
        const auto line = rest.substr(0, end);
        rest.remove_prefix(end + 1);
        TRY(take(line, place_.offset - rest.size(), visit));
    }
    rest_.erase(0, rest_.size() - rest.size());
    if (rest_.size() > kRecordMost) rest_ = "?"; // no record is as long: nor is what comes until the end of the line
    return got > 0;
}

/// @param end where the line ends in the file
Result<> LogReader::take(std::string_view line, std::uint64_t end, const Visit& visit)
{
    if (line.empty()) return {}; // the end of a record that was cut off
    const auto record = parse_record(line);
    if (!record) {
        ++damaged_;
        return {};
    }
    Line& open = lines_[static_cast<std::size_t>(record->stream)];
    if (Place{.file = place_.file, .offset = end} <= open.from) return {};
    const bool begins_line = !open.is_open;
    if (begins_line) open.is_wanted = is_within(query_, record->time);
    open.is_open = record->is_partial;
    if (!open.is_wanted) return {};
    return visit({.time = record->time,
                  .stream = record->stream,
                  .text = record->text,
                  .begins_line = begins_line,
                  .ends_line = !record->is_partial});
}

} // namespace coppice::instance
