#pragma once

#include "coppice/os/fd.h"
#include "ssh_keys.h"

#include <cstdint>
#include <string>
#include <vector>

namespace coppice::node {

struct IdentityWanted {
    std::string host_name;
    std::uint32_t root_id = 0; ///< user and group on the host that the instance's root is
    bool lasting = false;      ///< the identity is to be there after a power cut
};

/// Gives the root of an instance an identity of its own, unless it has that already: the same one each time. It is made
/// the first time, and kept in the instance's directory.
///
/// @param root that nobody uses yet; its content may be anybody's
/// @param directory of the instance
/// Errors: Corrupt (what is kept cannot be read), those of both disks. What was begun is finished the next time
Result<> give_identity(const os::Fd& root, const os::Fd& directory, const IdentityWanted& wanted, SshKeys& keys);

/// Paths of what was made new or removed in the root, for the user to know; none before the first start.
/// @param directory of the instance
Result<std::vector<std::string>> personalised_files(const os::Fd& directory);

} // namespace coppice::node
