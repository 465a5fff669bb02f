#pragma once

#include "coppice/instance/config.h"
#include "coppice/os/cgroup.h"

#include <string>
#include <vector>

/// First processes of instances that are no single programs: a whole system's own init (`--boot`), and the small one of
/// ours (`--init`). What systemd expects of a container: its document CONTAINER_INTERFACE.
namespace coppice::instance {

/// What `--boot` stands for where nothing else was asked for: /sbin/init, with a console, ended by the signal by which
/// systemd powers off, and with the patience that a system's services are given.
void apply_boot_defaults(InstanceConfig& config);

/// A file of the host that is read-only inside.
struct OwnFile {
    std::string source, destination; ///< absolute
};

/// Where `--init` has its program: in memory, so that the layer of the instance does not hear of it.
inline constexpr const char* kInitPlace = "/dev/coppice-init";

/// Path of that program; empty without `config.init`. Errors: NotFound (it is not installed)
Result<std::string> find_init_program(const InstanceConfig& config);

/// What is put beside the files of the root, for `config.boot` and `config.init`.
/// @param init_program of find_init_program
/// @param directory of the instance
/// Errors: Unsupported (this host has no cgroup v2 for a whole system)
Result<std::vector<OwnFile>> make_own_files(const InstanceConfig& config, const std::string& init_program,
                                            const os::CgroupLayout& layout, const std::string& directory);

} // namespace coppice::instance
