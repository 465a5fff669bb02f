#include "coppice/base/text.h"
#include "coppice/storage/storage.h"

namespace coppice::storage {

/// @returns what says that it is to end
Result<std::shared_ptr<std::atomic<bool>>> Storage::begin_capture(const std::string& working)
{
    std::unique_lock lock{working_};
    captured_.wait(lock, [&] { return !captures_.contains(working); });
    if (!in_use_.contains(working))
        return fail(Error{ErrorKind::Conflict, cat("no instance runs on branch ", working, " any more")}.hint(
            "what it has written is still there: try again"));
    return captures_[working] = std::make_shared<std::atomic<bool>>(false);
}

void Storage::end_capture(const std::string& working)
{
    {
        const std::lock_guard lock{working_};
        captures_.erase(working);
    }
    captured_.notify_all();
    background_->wake(); // to seal what was made, and to remove what is left of a copy
}

Result<vdisk::Captured> Storage::capture(const std::string& working, const vdisk::FreezeNote& note,
                                         const vdisk::Quiet& quiet, const store::Watch& watch)
{
    const auto is_to_end = TRY(begin_capture(working));
    auto captured = layers_.capture(working, note, quiet, [&](std::uint64_t bytes) -> Result<> {
        if (*is_to_end) return fail(ErrorKind::Conflict, cat("the instance on branch ", working, " has ended"));
        return watch(bytes);
    });
    end_capture(working);
    return captured;
}

} // namespace coppice::storage
