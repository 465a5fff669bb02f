#include "coppice/runtime/spec.h"

#include "coppice/base/error.h"

#include <sched.h>

/// A document is refused with a message, or its specification keeps what parse_spec promises.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    const auto spec = runtime::parse_spec({reinterpret_cast<const char*>(data), size});
    if (!spec) {
        COPPICE_CHECK(!spec.error().message().empty());
        return 0;
    }
    COPPICE_CHECK(!spec->root_path.empty() && spec->version.starts_with("1."));
    const auto& l = spec->linux_part;
    COPPICE_CHECK(l.has_own_mounts() || !l.has_user_namespace());
    for (const auto* const map : {&l.mapping.uids, &l.mapping.gids})
        COPPICE_CHECK(map->empty() || os::check_id_map(*map));
    COPPICE_CHECK(!l.has_new_namespace(CLONE_NEWUSER) || (!l.mapping.uids.empty() && !l.mapping.gids.empty()));
    COPPICE_CHECK(l.cgroups_path.find("..") == std::string::npos);
    for (std::size_t i = 0; i < l.namespaces.size(); ++i)
        COPPICE_CHECK(l.find_namespace(l.namespaces[i].flag) == &l.namespaces[i]); // none twice
    if (spec->process) COPPICE_CHECK(!spec->process->args.empty() && spec->process->cwd.starts_with('/'));
    return 0;
}
