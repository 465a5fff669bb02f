#pragma once

#include "coppice/os/cgroup.h"
#include "coppice/os/dbus.h"

#include <map>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

/// A cgroup that systemd makes and looks after: a transient scope unit. Needs cgroup v2 alone, systemd 244 or later.
/// Source: systemd.scope(5), systemd.resource-control(5), org.freedesktop.systemd1(5),
/// https://systemd.io/CONTROL_GROUP_INTERFACE
namespace coppice::os {

/// What a container's scope is called.
struct ScopeName {
    std::string slice; ///< "machine.slice"
    std::string unit;  ///< "libpod-ID.scope"
    bool operator==(const ScopeName&) const = default;
};

/// Reads linux.cgroupsPath as clients write it for systemd: SLICE:PREFIX:NAME. The unit is PREFIX-NAME.scope, or
/// NAME.scope without a prefix. Without a path: the default slice, prefix "coppice", name `id`.
/// Errors: Invalid (not of that form, not the name of a slice)
Result<ScopeName> parse_scope_name(std::string_view cgroups_path, const std::string& id, bool of_user);

/// Where a slice is below its manager's own cgroup: "a-b.slice" is /a.slice/a-b.slice, "-.slice" is empty.
/// Errors: Invalid
Result<std::string> slice_path(std::string_view slice);

/// The unit's properties that say the same as `limits`, so that systemd leaves them as they are when it writes a
/// cgroup's files again (daemon-reload, set-property). Limits for which it has no property are not in it.
/// @param all what holds together with `limits`; the same at the creation
/// Errors: Invalid (CPU list, `unified` value)
Result<std::vector<dbus::Property>> scope_properties(const CgroupLimits& limits, const CgroupLimits& all);

/// Properties from annotations `org.systemd.property.NAME`, with values as gvariant texts: true, 5, uint64 5, 'text',
/// ['a', 'b']. A name in ...Sec becomes ...USec. Errors: Invalid
Result<std::vector<dbus::Property>> annotated_properties(const std::map<std::string, std::string>& annotations);

/// The connection to a manager of units: the system's, or that of a user's session.
class Systemd {
public:
    /// The user's when the caller is not root of the initial user namespace and has a session, else the system's.
    /// Errors: Unsupported (systemd does not run here), Denied, Unavailable
    static Result<Systemd> connect();
    /// The one that a scope belongs to.
    static Result<Systemd> connect(bool of_user);

    [[nodiscard]] bool is_of_user() const { return of_user_; }

    /// Path in the v2 hierarchy that a scope will have.
    Result<std::string> cgroup_of(const ScopeName& name);

    /// The slice of a scope that systemd knows, running or not. Errors: NotFound
    Result<std::string> slice_of(const std::string& unit);

    /// Makes the scope with the process in it, delegated to the caller. Blocks until systemd has done so.
    /// A failed unit of that name is forgotten first. Errors: Conflict (a unit of that name exists), Denied,
    /// Invalid (a property), Unavailable (the job failed; systemd does not answer)
    Result<> start_scope(const ScopeName& name, pid_t pid, const std::string& description,
                         const std::vector<dbus::Property>& properties);
    /// Changes properties of a scope until it ends.
    Result<> set_scope_properties(const std::string& unit, const std::vector<dbus::Property>& properties);
    /// Ends a scope and forgets it. Blocks until it is gone. Absence is fine.
    Result<> stop_scope(const std::string& unit);

private:
    Systemd(dbus::Connection bus, bool of_user) : bus_{std::move(bus)}, of_user_{of_user} {}
    Result<dbus::Message> call(const char* method, std::string signature, const dbus::Writer& body);
    Result<std::string> property(const std::string& object, const char* interface, const char* name);
    Result<> reset_failed(const std::string& unit);
    Result<> follow_jobs();
    /// Waits for the end of the job that `reply` names. Errors: Unavailable (it did not end well)
    Result<> wait_for_job(const dbus::Message& reply, const std::string& unit);

    dbus::Connection bus_;
    bool of_user_;
    bool follows_jobs_ = false;
};

} // namespace coppice::os
