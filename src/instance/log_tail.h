#pragma once

#include "coppice/base/result.h"
#include "coppice/instance/log_record.h"
#include "coppice/os/fd.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace coppice::instance {

/// The lines of a file from its end to its beginning.
class LinesBackward {
public:
    /// @param file borrowed; what is behind its last end of a line counts for nothing
    static Result<LinesBackward> open(const os::Fd& file);

    [[nodiscard]] std::uint64_t end() const { return end_; } ///< of the last line
    struct Line {
        std::uint64_t offset;  ///< where it begins
        std::string_view text; ///< until the next call
    };
    /// Empty at the beginning of the file.
    Result<std::optional<Line>> next();

private:
    LinesBackward(int file, std::uint64_t size) : file_{file}, start_{size} {}
    Result<bool> read_before();
    int file_;
    std::uint64_t end_ = 0;
    std::uint64_t start_; ///< of `held_`
    std::string held_;
    std::size_t left_ = 0; ///< of `held_`
};

/// Counts lines, of which each may be several records, from the end of a log on.
class TailCount {
public:
    explicit TailCount(std::uint64_t lines) : left_{lines} {}

    /// The record before the last one given. @returns whether it is a part of the lines that are wanted
    bool take(const LogRecord& record);
    /// Whether nothing further is wanted.
    [[nodiscard]] bool is_done() const;

private:
    enum class Seen : unsigned char { Nothing, Wanted, Unwanted };
    std::uint64_t left_;
    std::uint64_t searched_bytes_ = 0; ///< for the beginnings of the lines that are counted
    std::array<Seen, kLogStreams> seen_{};
};

} // namespace coppice::instance
