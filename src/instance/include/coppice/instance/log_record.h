#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// One line of an instance's log. Source: docs/format/instance-log.md
namespace coppice::instance {

enum class LogStream : unsigned char { Out, Error };
inline constexpr std::size_t kLogStreams = 2;

/// What an instance wrote at once into one of its streams: a line, or a part of one.
struct LogRecord {
    std::string_view time; ///< RFC 3339 in UTC with nine digits of a fraction: the texts compare as the times do
    LogStream stream = LogStream::Out;
    bool is_partial = false; ///< the line goes on in the stream's next record
    std::string_view text;   ///< without the end of the line
};

/// Longest text of a record; longer lines are several.
inline constexpr std::size_t kRecordTextMost = 16U << 10;
inline constexpr std::size_t kRecordHeadBytes = 40;

/// With the end of the line.
inline std::size_t size_of(const LogRecord& record) { return kRecordHeadBytes + record.text.size() + 1; }
inline constexpr std::size_t kRecordMost = kRecordHeadBytes + kRecordTextMost + 1;

void append_record(std::string& out, const LogRecord& record);

/// @param line without its end; the record borrows it. Empty when it is none
std::optional<LogRecord> parse_record(std::string_view line);

} // namespace coppice::instance
