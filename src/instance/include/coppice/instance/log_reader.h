#pragma once

#include "coppice/base/result.h"
#include "coppice/instance/log_record.h"
#include "coppice/os/fd.h"

#include <array>
#include <cstdint>
#include <ctime>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace coppice::instance {

/// A moment as users name it: RFC 3339, seconds since 1970, or so long before `now` ("10m", "1h30m"); as the time of a
/// LogRecord. Errors: Invalid
Result<std::string> parse_log_time(std::string_view text, const timespec& now);

/// Which lines of a log are wanted. A line's time is that of its first record.
struct LogQuery {
    std::string since, until;          ///< as the time of a LogRecord, both included; empty: no bound
    std::optional<std::uint64_t> tail; ///< of those until `until`, so many from the end
    bool follow = false;               ///< what is written later, too
};

/// What a record says, to be shown behind what its stream said before: the parts of a line make it whole.
struct LogPiece {
    std::string_view time;
    LogStream stream;
    std::string_view text;
    bool begins_line, ends_line;
};

/// As people read it. @param with_time in front of each line
void append_piece(std::string& out, const LogPiece& piece, bool with_time);

/// Reads the log of an instance over all its files, while it is written and rotated. Blocks on the disk.
class LogReader {
public:
    using Visit = std::function<Result<>(const LogPiece&)>;

    /// A log that is not there is an empty one. Reads only the end when `tail` says how much.
    /// @param directory borrowed
    static Result<LogReader> open(int directory, LogQuery query);

    /// Hands on what is there: with `follow` what has been written since the last call, without, what was there at
    /// `open`. Errors: those of `visit`, too
    Result<> read(const Visit& visit);

    /// Lines that are no records, for example after a damage of the disk. They are left out.
    [[nodiscard]] std::uint64_t damaged() const { return damaged_; }
    /// Times that files had gone before they could be read: the log was rotated faster than `read` was called.
    [[nodiscard]] std::uint64_t gaps() const { return gaps_; }

private:
    /// A place in the log; files are counted from the first one that was opened.
    struct Place {
        std::uint64_t file = 0, offset = 0;
        auto operator<=>(const Place&) const = default;
    };
    struct Line {
        Place from; ///< what is before is not wanted
        bool is_open = false, is_wanted = false;
    };
    LogReader(int directory, LogQuery query) : directory_{directory}, query_{std::move(query)} {}
    Result<> find_tail();
    Result<> look_for_newer();
    Result<bool> read_block(const Visit& visit);
    Result<> take(std::string_view line, std::uint64_t end, const Visit& visit);
    void leave_file();

    int directory_;
    LogQuery query_;
    std::deque<os::Fd> files_; ///< from the one that is read on to the newest; held, whatever becomes of their names
    Place place_;              ///< behind what was read
    std::string rest_;         ///< the beginning of a line, which was read without its end
    std::array<Line, kLogStreams> lines_;
    std::uint64_t damaged_ = 0, gaps_ = 0;
};

} // namespace coppice::instance
