#include "placement.h"

#include "coppice/base/text.h"
#include "devices.h"

#include <algorithm>
#include <cerrno>

namespace coppice::runtime {

namespace {

Result<> refuse_cgroup_in_use(const os::CgroupPaths& paths)
{
    if (TRY(os::is_frozen(paths))) // what is born in it would not even begin
        return fail(Error{ErrorKind::Conflict, cat("cgroup ", paths.v2, " is frozen")}.hint(
            "choose another linux.cgroupsPath"));
    const auto pids = TRY(os::processes_in(paths));
    if (pids.empty()) return {};
    return fail(Error{ErrorKind::Conflict, cat("cgroup ", paths.v2, " is in use by process ", pids.front())}.hint(
        "choose another linux.cgroupsPath"));
}

/// Whether the specification says more of devices than what holds for every container anyway. Only then the list of v1
/// is written where the filter on v2 is what restricts: for those who look there.
bool has_device_list(const LinuxSpec& spec)
{
    static const os::DeviceRule kDenyAll;
    return std::any_of(spec.device_rules.begin(), spec.device_rules.end(),
                       [](const os::DeviceRule& rule) { return rule != kDenyAll; });
}

/// The cgroup with its limits. An ordinary user who asks for no limits goes without where it has no right to one: the
/// end of the pid namespace is then what ends all processes.
Result<os::Fd> make_cgroup(const os::CgroupLimits& limits, bool host_root, os::CgroupPaths& paths)
{
    auto cgroup = os::make_cgroup(paths, limits);
    if (!cgroup && !host_root) {
        const int number = cgroup.error().os_errno();
        const bool no_right = number == EACCES || number == EPERM || number == EROFS;
        if (no_right && limits == os::CgroupLimits{}) {
            paths = {};
            return os::Fd{};
        }
        if (no_right)
            return fail(std::move(cgroup).error().hint("leave limits out, or have this cgroup delegated to you"));
    }
    if (cgroup) TRY(os::apply_limits(paths, limits));
    return cgroup;
}

Result<> restrict_devices(const LinuxSpec& linux_part, const os::CgroupPaths& paths, const os::Fd& cgroup)
{
    auto rules = linux_part.device_rules;
    if (rules.empty()) rules.push_back({}); // "deny all": silence is no permission
    const auto defaults = default_device_rules();
    // Behind a first "deny all" and before the specification's own rules.
    const bool denies_first = !rules.front().allow && rules.front().type == 'a';
    auto listed = rules;
    rules.insert(rules.begin() + (denies_first ? 1 : 0), defaults.begin(), defaults.end());
    os::CgroupPaths restricting = paths;
    if (cgroup.is_open()) restricting.v1.erase("devices");
    TRY_DOING("linux.resources.devices", os::apply_device_rules(restricting, cgroup, rules));
    if (restricting == paths) return {};
    // The list of v1 beside the filter is there to be read, by programs that expect it to begin with the
    // specification's rules.
    listed.insert(listed.end(), defaults.begin(), defaults.end());
    return with_context(os::apply_device_rules(paths, os::Fd{}, listed), "linux.resources.devices");
}

} // namespace

Result<Placement> Placement::plan(const Spec& spec, const CreateRequest& request, const os::CgroupLayout& layout,
                                  bool host_root, StateRecord& record)
{
    const LinuxSpec& linux_part = spec.linux_part;
    Placement placement{request.cgroup_driver, host_root};
    switch (request.cgroup_driver) {
    case CgroupDriver::Systemd: placement.scope_ = TRY(plan_scope(spec, layout, record)); break;
    case CgroupDriver::Disabled:
        if (linux_part.limits != os::CgroupLimits{})
            return fail(Error{ErrorKind::Invalid, "linux.resources: limits need a cgroup, and none is to be made"}.hint(
                "choose --cgroup-manager=cgroupfs or systemd"));
        break;
    case CgroupDriver::Cgroupfs:
        const std::string& path = linux_part.cgroups_path;
        record.cgroup = TRY(os::plan_cgroup(layout, path.empty() ? cat("coppice/", request.id) : path,
                                            linux_part.limits, has_device_list(linux_part)));
    }
    TRY(refuse_cgroup_in_use(record.cgroup));
    return placement;
}

Result<os::Fd> Placement::make(const LinuxSpec& spec, StateRecord& record) const
{
    if (driver_ != CgroupDriver::Cgroupfs) return os::Fd{};
    auto cgroup = TRY(make_cgroup(spec.limits, host_root_, record.cgroup));
    if (host_root_) TRY(restrict_devices(spec, record.cgroup, cgroup));
    return cgroup;
}

Result<> Placement::place(const LinuxSpec& spec, const StateRecord& record, const Channel& init)
{
    if (!scope_) return {};
    const auto cgroup = TRY(start_scope(*scope_, record));
    TRY(os::apply_limits(record.cgroup, spec.limits));
    if (host_root_) TRY(restrict_devices(spec, record.cgroup, cgroup));
    return init.say(Word::Placed);
}

} // namespace coppice::runtime
