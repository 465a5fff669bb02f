#pragma once

#include "coppice/os/fd.h"
#include "coppice/security/ssh_key.h"

#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

/// The files that tell one machine from its copies, in a root that nobody else uses at the time and nobody vouches for.
/// Links on the way to a file lead nowhere but to other places of the root. What counts as a file is a regular one in
/// its own place: a link, FIFO, device or directory there is left as it is. Paths are absolute.
namespace coppice::node {

inline constexpr const char* kHostNameFile = "/etc/hostname";

struct HostKey {
    std::string path; ///< of the secret half
    security::SshKeyForm form;
    bool has_public = false; ///< there may be a file PATH.pub
};

struct PersonalFiles {
    bool host_name = false; ///< kHostNameFile may be written
    std::vector<HostKey> host_keys;
    std::vector<std::string> machine_ids; ///< all to hold the same
    std::vector<std::string> passing;     ///< to be removed: those who need them make them anew
};

/// Why these, and which others not: docs/design/instances.md, section "Identity".
/// Errors: those of the disk
Result<PersonalFiles> find_personal_files(const os::Fd& root);

/// Empty: it is no file, or larger than `most` bytes.
Result<std::optional<std::string>> read_personal_file(const os::Fd& root, const std::string& path, std::size_t most);

/// A new file takes the place of the old one: what another name, or another root, has of it does not change.
/// @param content empty: it is removed
Result<> change_personal_file(const os::Fd& root, const std::string& path, const std::optional<std::string>& content);

} // namespace coppice::node
