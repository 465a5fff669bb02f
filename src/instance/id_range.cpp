#include "coppice/instance/id_range.h"

#include "coppice/os/file.h"

#include <sys/random.h>

namespace coppice::instance {

Result<IdRange> IdRange::take(const std::string& lock_file)
{
    TRY_DOING("id ranges", os::make_directories(lock_file.substr(0, lock_file.find_last_of('/')), 0700));
    constexpr std::uint32_t kSlots = (kLast - kFirst) / kSize;
    // From a random one on: starts at the same time do not queue for the same few.
    std::uint32_t start = 0;
    COPPICE_CHECK(::getrandom(&start, sizeof start, 0) == sizeof start);
    for (std::uint32_t i = 0; i < kSlots; ++i) {
        const std::uint32_t slot = (start + i) % kSlots;
        auto lock = TRY_DOING("id ranges", os::FileLock::try_take_byte(lock_file, slot));
        if (lock) return IdRange{kFirst + slot * kSize, *std::move(lock)};
    }
    return fail(Error{ErrorKind::Unavailable, "all ranges of user ids are taken"}.hint("stop some instances"));
}

os::UserMapping IdRange::mapping_of(std::uint32_t first)
{
    const os::IdMap map{{.inside = 0, .outside = first, .size = kSize}};
    return {.uids = map, .gids = map};
}

} // namespace coppice::instance
