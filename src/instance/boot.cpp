#include "coppice/instance/boot.h"

#include "coppice/base/text.h"
#include "coppice/os/executable.h"
#include "coppice/os/file.h"

namespace coppice::instance {

void apply_boot_defaults(InstanceConfig& config)
{
    constexpr std::int64_t kPatienceSeconds = 90; // systemd's own for a service
    if (config.command.empty()) config.command = {"/sbin/init"};
    if (config.stop_signal.empty()) config.stop_signal = "RTMIN+3";
    if (!config.stop_timeout_seconds) config.stop_timeout_seconds = kPatienceSeconds;
    config.terminal = true;
}

Result<std::string> find_init_program(const InstanceConfig& config)
{
    return config.init ? os::find_companion("coppice-init") : std::string{};
}

Result<std::vector<OwnFile>> make_own_files(const InstanceConfig& config, const std::string& init_program,
                                            const os::CgroupLayout& layout, const std::string& directory)
{
    std::vector<OwnFile> files;
    if (config.init) files.push_back({.source = init_program, .destination = kInitPlace});
    if (!config.boot) return files;
    // A v1 hierarchy is not handed to anybody: whoever may write at its root runs programs on the host.
    if (layout.mode() == os::CgroupMode::Legacy)
        return fail(Error{ErrorKind::Unsupported, "--boot needs cgroup v2, and this host has mounted none"}.hint(
            "mount it: mkdir /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified"));
    const std::string manager = directory + "/container-manager";
    TRY(os::replace_file(os::kCwd, manager, "coppice\n", 0644));
    files.push_back({.source = manager, .destination = "/run/host/container-manager"});
    return files;
}

} // namespace coppice::instance
