#include "coppice/instance/halt.h"

#include "coppice/os/file.h"
#include "coppice/runtime/control.h"

#include <fcntl.h>

namespace coppice::instance {

namespace {

constexpr const char* kTurnLock = "halt.lock";

} // namespace

Result<os::FileLock> take_turn(const InstanceStore& store, const std::string& name)
{
    const auto directory = TRY(store.find_directory(name));
    auto turn = TRY(os::FileLock::take(directory.get(), kTurnLock));
    TRY(end_halt(store, name));
    return turn;
}

bool is_halted(const InstanceStore& store, const std::string& name)
{
    const auto directory = store.find_directory(name);
    return directory && os::exists(directory->get(), kHaltedMark);
}

Result<> halt(const InstanceStore& store, const std::string& name)
{
    const auto directory = TRY(store.find_directory(name));
    const auto root = TRY(store.runtime_root());
    [[maybe_unused]] const auto mark = TRY(os::open_at(directory.get(), kHaltedMark, O_WRONLY | O_CREAT, 0600));
    auto halted = runtime::pause(root, name);
    if (halted) return {};
    TRY(end_halt(store, name)); // some of its processes may stand still
    return halted;
}

Result<> end_halt(const InstanceStore& store, const std::string& name)
{
    const auto directory = store.find_directory(name);
    if (!directory || !TRY(os::is_there(directory->get(), kHaltedMark))) return {};
    auto resumed = runtime::resume(TRY(store.runtime_root()), name);
    const bool has_ended =
        !resumed && (resumed.error().kind() == ErrorKind::Conflict || resumed.error().kind() == ErrorKind::NotFound);
    if (!resumed && !has_ended) return resumed;
    return os::remove_file(directory->get(), kHaltedMark);
}

} // namespace coppice::instance
