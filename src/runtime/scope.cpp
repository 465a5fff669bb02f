#include "scope.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

namespace coppice::runtime {

Result<PlannedScope> plan_scope(const Spec& spec, const os::CgroupLayout& layout, StateRecord& record)
{
    if (layout.mode() != os::CgroupMode::Unified)
        return fail(Error{ErrorKind::Unsupported, "the systemd cgroup driver needs a host with cgroup v2 alone"}.hint(
            "leave out --systemd-cgroup, or have the client use cgroupfs"));
    auto systemd = TRY(os::Systemd::connect());
    auto name = TRY(os::parse_scope_name(spec.linux_part.cgroups_path, record.id, systemd.is_of_user()));
    auto properties = TRY(os::scope_properties(spec.linux_part.limits, spec.linux_part.limits));
    for (auto& property : TRY(os::annotated_properties(spec.annotations)))
        properties.push_back(std::move(property));
    record.cgroup.v2 = layout.v2_directory(TRY(systemd.cgroup_of(name)));
    record.scope = ScopeRecord{.unit = name.unit, .of_user = systemd.is_of_user()};
    return PlannedScope{std::move(systemd), std::move(name), std::move(properties)};
}

Result<os::Fd> start_scope(PlannedScope& scope, const StateRecord& record)
{
    TRY(scope.systemd.start_scope(scope.name, record.pid, cat("coppice container ", record.id), scope.properties));
    // What follows writes limits and kills by this directory: it has to be where the process is.
    if (!record.cgroup.v2.ends_with(TRY(os::v2_path_of(record.pid))))
        return fail(ErrorKind::Unavailable,
                    cat("systemd did not put process ", record.pid, " into ", record.cgroup.v2));
    return os::open_at(os::kCwd, record.cgroup.v2, O_RDONLY | O_DIRECTORY);
}

namespace {

/// Whether systemd is about to start the scope of a creation that ended early. One of that name in another slice is not
/// the one that was asked for.
Result<bool> is_coming(os::Systemd& systemd, const StateRecord& record)
{
    const auto slice = systemd.slice_of(record.scope->unit);
    if (!slice && slice.error().kind() == ErrorKind::NotFound) return false;
    if (!slice) return fail(slice.error());
    const auto path = os::slice_path(*slice); // none, or nothing that we would have asked for
    return path && record.cgroup.v2.ends_with(cat(*path, '/', record.scope->unit));
}

/// Of a creation that ended early.
Result<> stop_coming_scope(const StateRecord& record)
{
    auto systemd = os::Systemd::connect(record.scope->of_user);
    const auto coming = systemd ? is_coming(*systemd, record) : Result<bool>{std::unexpect, systemd.error()};
    if (!coming) { // nothing of it is there: who cannot ask must be able to take the container away nevertheless
        log::warn("scope", cat("cannot ask systemd whether ", record.scope->unit,
                               " is about to start: ", coming.error().line()));
        return {};
    }
    return *coming ? systemd->stop_scope(record.scope->unit) : Result<>{};
}

} // namespace

Result<> stop_scope(const StateRecord& record)
{
    if (!record.scope) return {};
    // Mostly systemd has seen by itself that the last process ended, and there is nobody to ask.
    if (!os::exists(os::kCwd, record.cgroup.v2)) return record.complete ? Result<>{} : stop_coming_scope(record);
    auto systemd = TRY(os::Systemd::connect(record.scope->of_user));
    return systemd.stop_scope(record.scope->unit);
}

Result<> set_scope_properties(const StateRecord& record, const os::CgroupLimits& limits, const os::CgroupLimits& all)
{
    if (!record.scope) return {};
    const auto properties = TRY(os::scope_properties(limits, all));
    auto systemd = TRY(os::Systemd::connect(record.scope->of_user));
    return systemd.set_scope_properties(record.scope->unit, properties);
}

} // namespace coppice::runtime
