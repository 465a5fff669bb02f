#include "progress.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"
#include "coppice/os/terminal.h"

#include <algorithm>
#include <cmath>
#include <unistd.h>

namespace coppice::cli {

namespace {

constexpr std::chrono::seconds kLinePause{10}; // between lines where there is no terminal
constexpr std::chrono::milliseconds kRateAfter{1000};

std::string amount(std::uint64_t count, const std::string& unit)
{
    return unit == "bytes" ? format_bytes(count) : unit.empty() ? cat(count) : cat(count, ' ', unit);
}

std::string duration(double seconds)
{
    const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
    if (whole < 60) return cat(whole, 's');
    if (whole < 3600) return cat(whole / 60, 'm', whole % 60, 's');
    return cat(whole / 3600, 'h', whole % 3600 / 60, 'm');
}

void say(std::string_view text)
{
    // Nobody who reads it is no reason to fail the work.
    [[maybe_unused]] const auto written = os::write_all(STDERR_FILENO, text, "standard error");
}

} // namespace

std::string progress_line(const api::Progress& progress, double rate, std::size_t columns)
{
    const bool has_total = progress.total > 0;
    const auto done = has_total ? std::min(progress.done, progress.total) : progress.done;
    const double part = has_total ? static_cast<double>(done) / static_cast<double>(progress.total) : 0;
    std::string head = printable(progress.stage);
    std::string tail;
    if (has_total) {
        const std::string percent = cat(static_cast<int>(part * 100));
        tail += cat("  ", std::string(3 - std::min<std::size_t>(percent.size(), 3), ' '), percent, " %");
    }
    if (has_total || done > 0)
        tail +=
            cat("  ", amount(done, progress.unit), has_total ? cat(" of ", amount(progress.total, progress.unit)) : "");
    rate = std::min(rate, 1e18); // fits the integer
    if (rate >= 1) tail += cat("  ", amount(static_cast<std::uint64_t>(rate), progress.unit), "/s");
    if (rate >= 1 && has_total && done < progress.total)
        tail += cat("  ", duration(static_cast<double>(progress.total - done) / rate), " left");
    constexpr std::size_t kLeastBar = 10, kMostBar = 40;
    const std::size_t used = head.size() + tail.size() + 4;
    if (has_total && columns >= used + kLeastBar) {
        const std::size_t width = std::min(columns - used, kMostBar);
        const auto full = static_cast<std::size_t>(part * static_cast<double>(width));
        head += cat(head.empty() ? "" : " ", '[', std::string(full, '#'), std::string(width - full, '.'), ']');
    }
    std::string line = head + tail;
    if (columns > 0 && line.size() >= columns) line.resize(columns - 1);
    return line;
}

ProgressView::ProgressView(bool quiet) : quiet_{quiet}, is_terminal_{::isatty(STDERR_FILENO) == 1} {}

ProgressView::~ProgressView() { end(); }

void ProgressView::show(const api::Operation& operation)
{
    if (quiet_ || operation.state != api::OperationState::Running) return;
    const auto& progress = operation.progress;
    const auto time = Clock::now();
    const bool new_stage =
        progress.stage != stage_ || progress.done < stage_done_ || stage_begin_ == Clock::time_point{};
    if (new_stage) {
        stage_ = progress.stage;
        stage_done_ = progress.done;
        stage_begin_ = time;
    }
    const std::chrono::duration<double> elapsed = time - stage_begin_;
    const double rate = elapsed < kRateAfter ? 0 : static_cast<double>(progress.done - stage_done_) / elapsed.count();
    if (is_terminal_) {
        const auto size = os::terminal_size(STDERR_FILENO);
        say(cat("\r\033[K", progress_line(progress, rate, size && size->columns > 0 ? size->columns : 80)));
        is_drawn_ = true;
    } else if (new_stage || time - shown_ >= kLinePause) {
        const std::string line = progress_line(progress, rate, 0);
        if (line.empty()) return; // nothing is known yet
        say(line + '\n');
        shown_ = time;
    }
}

void ProgressView::end()
{
    if (std::exchange(is_drawn_, false)) say("\r\033[K");
}

} // namespace coppice::cli
