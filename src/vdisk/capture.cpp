// Snapshots of working layers that somebody writes into.

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "copy_upper.h"
#include "working_files.h"
#include "working_steps.h"

#include <cerrno>
#include <fcntl.h>
#include <utility>

namespace coppice::vdisk {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kCopy = "capture/upper";
constexpr const char* kLinks = "capture/links";
constexpr unsigned kMostPasses = 5;         ///< before anybody is halted
constexpr std::uint64_t kLittle = 4U << 20; ///< is copied in a few milliseconds
constexpr int kBlurMs = 20;                 ///< what has just changed is left to a later pass; see UpperCopy

/// While it lives nobody writes.
class Halted {
public:
    explicit Halted(const Quiet& quiet) : quiet_{&quiet} {}
    Halted(const Halted&) = delete;
    Halted& operator=(const Halted&) = delete;
    ~Halted()
    {
        if (quiet_ == nullptr) return;
        if (const auto resumed = quiet_->resume(); !resumed)
            log::error("vdisk", "what was halted for a snapshot does not go on", {{"error", resumed.error().line()}});
    }
    Result<> end() { return std::exchange(quiet_, nullptr)->resume(); }

private:
    const Quiet* quiet_;
};

Result<os::Fd> open_directory(int directory, const char* path)
{
    return os::open_at(directory, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

/// As long as another pass leaves much less to do than the one before.
Result<> copy_while_running(UpperCopy& copy)
{
    std::uint64_t before = 0;
    for (unsigned passes = 0; passes < kMostPasses; ++passes) {
        if (passes > 0) sleep_ms(kBlurMs);
        TRY(copy.pass(UpperCopy::Writers::Running));
        if (copy.work() <= kLittle || (passes > 0 && copy.work() > before / 2)) break;
        before = copy.work();
    }
    return {};
}

Result<CaptureCost> copy_upper(int directory, const Quiet& quiet, const store::Watch& watch)
{
    UpperCopy::Places places;
    places.from = TRY(open_directory(directory, kUpper));
    places.to = TRY(open_directory(directory, kCopy));
    places.links = TRY(open_directory(directory, kLinks));
    UpperCopy copy{std::move(places), watch};
    TRY(copy_while_running(copy));
    const auto begin = Clock::now();
    TRY(quiet.halt());
    Halted halted{quiet};
    step("capture halted");
    TRY(copy.pass(UpperCopy::Writers::Halted));
    TRY(halted.end());
    return CaptureCost{.pause = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin),
                       .copied_bytes = copy.copied(),
                       .shared = copy.is_shared()};
}

} // namespace

Result<Captured> WorkingLayers::capture(const std::string& name, const FreezeNote& note, const Quiet& quiet,
                                        const store::Watch& watch)
{
    if (const auto before = TRY(find_made(*store_, note))) return Captured{.snapshot = *before, .cost = {}};
    const auto directory = TRY(begin_capture(name));
    const auto make = [&]() -> Result<Captured> {
        const auto cost = TRY(copy_upper(directory.get(), quiet, watch));
        auto snapshot = TRY(keep_capture(name, directory.get(), note));
        return Captured{.snapshot = std::move(snapshot), .cost = cost};
    };
    auto made = make();
    step("capture committed");
    // After a failure, too: what the database says now decides whether the copy is kept.
    auto ended = end_capture(name, directory.get());
    if (made && !ended) return fail(std::move(ended).error());
    return with_context(std::move(made), cat("capture branch ", name));
}

Result<os::Fd> WorkingLayers::begin_capture(const std::string& name)
{
    const std::lock_guard lock{mutex_};
    TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    TRY(check_unmounted(name, ReadOnly::Refused));
    auto directory = TRY(open_settled(name));
    TRY(settle_capture(directory.get(), {})); // of a try that failed
    for (const char* const path : {kCapture, kCopy, kLinks})
        TRY(os::make_directory(directory.get(), path, 0700));
    captured_.insert(name);
    return directory;
}

/// The copy is complete: from here on it is a snapshot, if the row gets there.
Result<store::Snapshot> WorkingLayers::keep_capture(const std::string& name, int directory, const FreezeNote& note)
{
    const std::lock_guard lock{mutex_};
    const auto working = TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    const auto id = security::make_random<store::SnapshotId>();
    {
        const auto copy = TRY(open_directory(directory, kCopy));
        TRY(note_boot(copy.get()));
    }
    TRY(note_step(directory, {.kind = Step::Kind::Capture, .snapshot = id}));
    step("capture noted");
    TRY(os::rename_at(directory, kCopy, store_->directory(), frozen_name(id), false));
    step("capture moved");
    return store_->write([&](store::Txn& txn) { return add_frozen(txn, id, working, note); });
}

Result<> WorkingLayers::end_capture(const std::string& name, int directory)
{
    const std::lock_guard lock{mutex_};
    captured_.erase(name);
    const auto begun = TRY(find_step(directory));
    TRY(settle_capture(directory, begun));
    return begun ? forget_step(directory) : Result<>{};
}

/// A copy that is in no row is nobody's: the layer itself holds everything.
Result<> WorkingLayers::settle_capture(int directory, const std::optional<Step>& begun)
{
    if (begun && begun->kind == Step::Kind::Capture) {
        const auto frozen = frozen_name(begun->snapshot);
        const auto made =
            TRY(store_->read([&](const store::View& view) { return store::find_snapshot(view, begun->snapshot); }));
        if (!made && TRY(os::is_there(store_->directory(), frozen)))
            TRY(os::rename_at(store_->directory(), frozen, directory, kCopy, false));
    }
    if (TRY(os::is_there(directory, kCapture))) TRY(discard_directory(directory, kCapture));
    return {};
}

} // namespace coppice::vdisk
