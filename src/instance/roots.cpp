#include "roots.h"

#include "coppice/base/text.h"
#include "coppice/instance/protocol.h"

namespace coppice::instance {

Result<os::Fd> LayeredRoot::attach(const os::Fd& user_namespace)
{
    auto lower = TRY(image_.mount());
    return layer_.mount_over(std::move(lower), image_.path(), user_namespace, mapping_, durability_);
}

Result<os::Fd> DaemonRoot::attach(const os::Fd& user_namespace)
{
    const auto gone = [] { return fail(ErrorKind::Unavailable, "coppiced has ended before the root was mounted"); };
    if (!say(*daemon_, Say::Mount, cat(first_id_), {user_namespace.get()})) return gone();
    auto heard = TRY(hear(*daemon_));
    if (!heard) return gone();
    if (heard->word == Say::Failed) return fail(decode_error(heard->text));
    if (heard->word != Say::Mounted || heard->fds.empty()) return fail(ErrorKind::Corrupt, "coppiced sent no mount");
    return heard->take_fd();
}

} // namespace coppice::instance
