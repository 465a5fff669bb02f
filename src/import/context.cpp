#include "coppice/import/context.h"

namespace coppice::imports {

Result<> check_stop(const std::stop_token& stop)
{
    if (stop.stop_requested()) return fail(ErrorKind::Unavailable, "stopped on request");
    return {};
}

} // namespace coppice::imports
