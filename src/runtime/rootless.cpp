#include "coppice/runtime/rootless.h"

#include "coppice/base/text.h"
#include "coppice/os/user_namespace.h"

#include <algorithm>
#include <cstdlib>
#include <sched.h>
#include <unistd.h>

namespace coppice::runtime {

Result<> enter_user_namespace_of(Spec& spec)
{
    if (::geteuid() == 0) return {};
    LinuxSpec& linux_part = spec.linux_part;
    if (!linux_part.has_new_namespace(CLONE_NEWUSER))
        return fail(Error{ErrorKind::Invalid, "an ordinary user's container needs a user namespace"}.hint(
            "add one to linux.namespaces, with uidMappings and gidMappings, or run as root"));
    TRY_DOING("user namespace", os::become_root_of_new_namespaces(linux_part.mapping));
    std::erase_if(linux_part.namespaces, [](const NamespaceSpec& ns) { return ns.flag == CLONE_NEWUSER; });
    return {};
}

std::string default_state_root()
{
    const char* const runtime_directory = std::getenv("XDG_RUNTIME_DIR");
    if (runtime_directory == nullptr || *runtime_directory != '/' || os::is_host_root()) return "/run/coppice-runtime";
    return cat(runtime_directory, "/coppice-runtime");
}

} // namespace coppice::runtime
