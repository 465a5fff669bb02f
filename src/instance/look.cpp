#include "coppice/instance/look.h"

#include "coppice/base/text.h"
#include "coppice/instance/halt.h"
#include "coppice/os/file.h"
#include "coppice/runtime/state.h"

namespace coppice::instance {

namespace {

Result<runtime::ContainerDirectory> container_of(const InstanceStore& store, const std::string& name)
{
    return TRY(store.runtime_root()).find(name);
}

} // namespace

Result<runtime::StateRecord> running_record(const InstanceStore& store, const std::string& name)
{
    const bool runs = TRY(store.is_running(name));
    const auto directory = container_of(store, name);
    auto record = directory ? directory->read_state() : fail(directory.error());
    if (runs && record && record->pid > 0) return record;
    return fail(Error{ErrorKind::Conflict, cat("instance ", name, " is not running")}.hint("see: coppice ps -a"));
}

std::optional<os::ProcessRef> find_init(const InstanceStore& store, const std::string& name)
{
    const auto directory = container_of(store, name);
    if (!directory) return {};
    const auto record = directory->read_state();
    if (!record || record->pid <= 0) return {};
    auto init = os::ProcessRef::find(record->pid, record->start_time);
    return init ? *std::move(init) : std::nullopt;
}

bool is_paused(const InstanceStore& store, const std::string& name)
{
    const auto directory = container_of(store, name);
    if (!directory) return false;
    const auto record = directory->read_state();
    if (!record) return false;
    const auto status = runtime::status_of(*directory, *record);
    return status && *status == runtime::Status::Paused && !is_halted(store, name);
}

std::optional<HealthReport> read_health(const InstanceStore& store, const std::string& name)
{
    constexpr std::size_t kMostBytes = 1U << 20;
    const auto directory = store.find_directory(name);
    if (!directory) return {};
    const auto text = os::read_file(directory->get(), kHealthFile, kMostBytes);
    if (!text) return {};
    auto report = parse_health(*text);
    return report ? std::optional{*std::move(report)} : std::nullopt;
}

} // namespace coppice::instance
