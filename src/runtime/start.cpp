#include "channel.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/container.h"
#include "hooks.h"

namespace coppice::runtime {

namespace {

std::unexpected<Error> not_startable(const ContainerDirectory& directory, const StateRecord& record)
{
    const auto status = status_of(directory, record);
    if (!status) return fail(status.error());
    if (*status == Status::Running)
        return fail(ErrorKind::Conflict, cat("cannot start container ", record.id, ": it is running already"));
    return fail(ErrorKind::Conflict, cat("cannot start container ", record.id, ": it is ", to_word(*status)));
}

} // namespace

Result<> start(const StateRoot& root, const std::string& id)
{
    const auto directory = TRY(root.find(id));
    const auto record = TRY(directory.read_state());
    if (!record.complete) return not_startable(directory, record);
    if (TRY(os::is_frozen(record.cgroup))) return not_startable(directory, record); // it would never answer
    const auto connection = os::connect_in(directory.fd().get(), kStartSocket);
    if (!connection) return not_startable(directory, record);
    if (!os::send_message(*connection, "start")) return not_startable(directory, record);
    const auto taken = os::receive_message(*connection);
    if (!taken || taken->bytes != "taken") return not_startable(directory, record); // another start was faster
    // The connection closes itself when the program is executed: silence is success.
    const auto answer = os::receive_message(*connection);
    TRY(os::remove_file(directory.fd().get(), kStartSocket));
    if (!answer) return fail(answer.error());
    if (!answer->bytes.empty()) return fail(decode_error(answer->bytes));

    const auto config = TRY(directory.read_config());
    if (config.find("\"poststart\"") == std::string::npos) return {}; // spare the parse where no hook can be
    const auto spec = TRY(parse_spec(config));
    run_late_hooks(spec.hooks.poststart, "poststart", to_state_json(record, Status::Running, false));
    return {};
}

} // namespace coppice::runtime
