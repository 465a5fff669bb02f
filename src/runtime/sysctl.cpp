#include "sysctl.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"

#include <algorithm>
#include <array>
#include <sched.h>
#include <string_view>

namespace coppice::runtime {

namespace {

constexpr std::array<std::string_view, 8> kIpcParameters{"kernel.msgmax", "kernel.msgmnb",         "kernel.msgmni",
                                                         "kernel.sem",    "kernel.shmall",         "kernel.shmmax",
                                                         "kernel.shmmni", "kernel.shm_rmid_forced"};

/// "net/ipv4/x" and "net.ipv4.x" are the same; a slash form is needed where a name itself holds a dot (eth0.1).
std::string to_path(const std::string& name)
{
    std::string path = name;
    if (path.find('/') == std::string::npos) std::replace(path.begin(), path.end(), '.', '/');
    return path;
}

} // namespace

std::uint64_t namespace_of_sysctl(const std::string& name)
{
    const std::string path = to_path(name);
    std::string dotted = path;
    std::replace(dotted.begin(), dotted.end(), '/', '.');
    if (std::find(kIpcParameters.begin(), kIpcParameters.end(), dotted) != kIpcParameters.end()) return CLONE_NEWIPC;
    if (path.starts_with("fs/mqueue/")) return CLONE_NEWIPC;
    if (path.starts_with("net/")) return CLONE_NEWNET;
    return dotted == "kernel.domainname" ? CLONE_NEWUTS : 0;
}

Result<> check_sysctls(const LinuxSpec& spec)
{
    for (const auto& [name, value] : spec.sysctl) {
        const auto kind = namespace_of_sysctl(name);
        if (kind == 0 || spec.find_namespace(kind) == nullptr)
            return fail(ErrorKind::Invalid,
                        cat("linux.sysctl: '", name,
                            "' does not belong to a namespace of this container; it would change the host"));
    }
    return {};
}

Result<> write_sysctls(const LinuxSpec& spec)
{
    if (spec.sysctl.empty()) return {};
    const auto proc = TRY_DOING("sysctl", os::new_file_system("proc", {}, 0));
    for (const auto& [name, value] : spec.sysctl) {
        const auto file =
            TRY_DOING("sysctl", os::open_in_root(proc.get(), cat("sys/", to_path(name)), O_WRONLY, 0, false));
        TRY_DOING("sysctl", os::write_all(file.get(), value, name));
    }
    return {};
}

} // namespace coppice::runtime
