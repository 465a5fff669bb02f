#pragma once

#include "coppice/api/operation.h"

#include <chrono>
#include <cstddef>
#include <string>

namespace coppice::cli {

/// Shows how far an operation is, on standard error: one line that is written over on a terminal, a line now and then
/// elsewhere, nothing when quiet.
class ProgressView {
public:
    using Clock = std::chrono::steady_clock;
    explicit ProgressView(bool quiet);
    ~ProgressView(); ///< as `end`
    ProgressView(const ProgressView&) = delete;
    ProgressView& operator=(const ProgressView&) = delete;

    void show(const api::Operation& operation);
    /// Clears the line.
    void end();

private:
    bool quiet_, is_terminal_, is_drawn_ = false;
    std::string stage_;
    std::uint64_t stage_done_ = 0; ///< when the stage was first seen
    Clock::time_point stage_begin_{}, shown_{};
};

/// "reading [####......]  42 %  1.2 GiB of 2.9 GiB  310 MiB/s  6s left", as much of it as is known and fits.
/// @param rate units a second; 0 when not known
/// @param columns of the terminal; 0 for no bar and no limit
std::string progress_line(const api::Progress& progress, double rate, std::size_t columns);

} // namespace coppice::cli
