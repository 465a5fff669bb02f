#include "coppice/daemon/access.h"

#include "coppice/base/text.h"

#include <unistd.h>

namespace coppice::daemon {

std::string Identity::text() const { return cat("uid ", uid, " (process ", pid, ")"); }

Result<> authorize(const Identity& identity, Verb verb, std::string_view object)
{
    if (identity.uid == 0 || identity.uid == ::geteuid()) return {};
    const std::string_view doing = verb == Verb::Read ? "look at" : verb == Verb::Change ? "change" : "administer";
    return fail(Error{ErrorKind::Denied, cat("user id ", identity.uid, " may not ", doing, " ", object)}.hint(
        "only root and the user who runs coppiced may; use sudo"));
}

} // namespace coppice::daemon
