#include "coppice/instance/id_range.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <sys/random.h>

namespace coppice::instance {

Result<IdRange> IdRange::take(const std::string& lock_directory)
{
    TRY_DOING("id ranges", os::make_directories(lock_directory, 0700));
    auto directory = TRY_DOING("id ranges", os::open_at(os::kCwd, lock_directory, O_RDONLY | O_DIRECTORY));
    constexpr std::uint32_t kSlots = (kLast - kFirst) / kSize;
    // From a random one on: starts at the same time do not queue for the same few.
    std::uint32_t slot = 0;
    COPPICE_CHECK(::getrandom(&slot, sizeof slot, 0) == sizeof slot);
    for (std::uint32_t i = 0; i < kSlots; ++i) {
        const std::uint32_t first = kFirst + (slot + i) % kSlots * kSize;
        auto lock = TRY_DOING("id ranges", os::FileLock::try_take(directory.get(), cat(first)));
        if (lock) return IdRange{first, std::move(directory), *std::move(lock)};
    }
    return fail(Error{ErrorKind::Unavailable, "all ranges of user ids are taken"}.hint("stop some instances"));
}

Result<> IdRange::sweep(const std::string& lock_directory)
{
    const auto directory = os::open_at(os::kCwd, lock_directory, O_RDONLY | O_DIRECTORY);
    if (!directory) return {}; // nobody has taken one yet
    for (const std::string& name : TRY(os::list_directory(directory->get(), "."))) {
        const auto lock = TRY(os::FileLock::try_take(directory->get(), name));
        if (lock) TRY(os::remove_file(directory->get(), name)); // while it is held, see ~IdRange
    }
    return {};
}

os::UserMapping IdRange::mapping() const
{
    const os::IdMap map{{.inside = 0, .outside = first_, .size = kSize}};
    return {.uids = map, .gids = map};
}

IdRange::~IdRange()
{
    // While the lock is held: whoever takes the name next makes a new file.
    if (directory_.is_open()) [[maybe_unused]]
        const auto removed = os::remove_file(directory_.get(), cat(first_));
}

} // namespace coppice::instance
