#pragma once

#include "coppice/runtime/spec.h"

#include <string>

/// Containers of ordinary users.
namespace coppice::runtime {

/// Has an ordinary user's process become root of the user namespace that `spec` asks for; `spec` then asks for none any
/// more, and the creation goes on as root's would inside. Nothing happens for who is root already, of the host or of a
/// user namespace as podman makes it. Errors: Invalid (no new user namespace in `spec`), Denied (ids of others)
Result<> enter_user_namespace_of(Spec& spec);

/// Where the state of containers is kept unless said otherwise: /run/coppice-runtime for root of the host, for others
/// coppice-runtime in XDG_RUNTIME_DIR, when that is set.
std::string default_state_root();

} // namespace coppice::runtime
