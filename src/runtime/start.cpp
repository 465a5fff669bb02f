#include "start.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/container.h"
#include "hooks.h"
#include "listener.h"

#include <cerrno>
#include <chrono>
#include <csignal>

namespace coppice::runtime {

namespace {

constexpr int kPatienceMs = 10'000;

std::unexpected<Error> not_startable(const ContainerDirectory& directory, const StateRecord& record)
{
    const auto status = status_of(directory, record);
    if (!status) return fail(status.error());
    if (*status == Status::Running)
        return fail(ErrorKind::Conflict, cat("cannot start an already running container: ", record.id));
    if (*status == Status::Stopped)
        return fail(ErrorKind::Conflict, cat("cannot start a container that has stopped: ", record.id));
    return fail(ErrorKind::Conflict, cat("cannot start container ", record.id, ": it is ", to_word(*status)));
}

} // namespace

Result<> wait_for_execution(const Channel& init, const ContainerDirectory& directory, const StateRecord& record)
{
    for (Word word{};;) {
        const auto answer = init.listen(word);
        if (!answer && answer.error().kind() == ErrorKind::Gone) return {};
        if (!answer) return fail(answer.error());
        COPPICE_CHECK(word == Word::Listener);
        const auto spec = TRY(parse_spec(TRY(directory.read_config())));
        const auto process = TRY(os::ProcessRef::find(record.pid, record.start_time));
        if (!process || !spec.linux_part.seccomp) return fail(ErrorKind::Gone, "the container's init has died");
        auto done = hand_over_listener(process->pidfd(), *answer, *spec.linux_part.seccomp, record, record.pid,
                                       Status::Created, init);
        if (done) continue;
        // It may be waiting for an answer that nobody will ever give.
        [[maybe_unused]] const auto killed = process->send(SIGKILL);
        return done;
    }
}

Result<> start(const StateRoot& root, const std::string& id)
{
    const auto directory = TRY(root.find(id));
    const auto record = TRY(directory.read_state());
    if (!record.complete) return not_startable(directory, record);
    if (TRY(os::is_frozen(record.cgroup))) return not_startable(directory, record); // it would never answer
    const auto deaf = [&id] {
        return fail(
            Error{ErrorKind::Unavailable, cat("cannot start container ", id, ": its init does not answer")}.hint(
                "it may be stopped by a signal"));
    };
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds{kPatienceMs};
    os::Fd taken_by;
    while (!taken_by.is_open()) {
        auto connection = os::connect_in(directory.fd().get(), kStartSocket, kPatienceMs);
        if (!connection) return connection.error().os_errno() == EAGAIN ? deaf() : not_startable(directory, record);
        bool taken = false;
        if (os::send_message(*connection, "start")) {
            if (!TRY(os::wait_for_message(*connection, kPatienceMs))) return deaf();
            const auto answer = os::receive_message(*connection);
            taken = answer && answer->bytes == "taken";
        }
        if (taken) taken_by = *std::move(connection);
        // Hung up: another start was faster, or we were so slow that init took us for somebody who says nothing.
        else if (std::chrono::steady_clock::now() > deadline || TRY(status_of(directory, record)) != Status::Created)
            return not_startable(directory, record);
    }
    const Channel init{std::move(taken_by)};
    auto ran = wait_for_execution(init, directory, record);
    TRY(os::remove_file(directory.fd().get(), kStartSocket));
    TRY(std::move(ran));

    const auto config = TRY(directory.read_config());
    if (config.find("\"poststart\"") == std::string::npos) return {}; // spare the parse where no hook can be
    const auto spec = TRY(parse_spec(config));
    run_late_hooks(spec.hooks.poststart, "poststart", to_state_json(record, Status::Running, false));
    return {};
}

} // namespace coppice::runtime
