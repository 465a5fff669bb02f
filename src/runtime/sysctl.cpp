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

bool is_of(std::string_view path, std::string_view prefix) { return path.starts_with(prefix); }

} // namespace

Result<> check_sysctls(const LinuxSpec& spec)
{
    for (const auto& [name, value] : spec.sysctl) {
        const std::string path = to_path(name);
        std::string dotted = path;
        std::replace(dotted.begin(), dotted.end(), '/', '.');
        const bool ipc = std::find(kIpcParameters.begin(), kIpcParameters.end(), dotted) != kIpcParameters.end() ||
                         is_of(path, "fs/mqueue/");
        const bool own = (ipc && spec.find_namespace(CLONE_NEWIPC) != nullptr) ||
                         (is_of(path, "net/") && spec.find_namespace(CLONE_NEWNET) != nullptr) ||
                         (dotted == "kernel.domainname" && spec.find_namespace(CLONE_NEWUTS) != nullptr);
        if (!own)
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
