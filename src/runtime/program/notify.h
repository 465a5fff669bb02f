#pragma once

#include "coppice/os/fd.h"
#include "coppice/runtime/spec.h"
#include "coppice/runtime/state.h"

#include <optional>
#include <string>
#include <sys/types.h>

/// NOTIFY_SOCKET, by which a service says that it is ready. The container cannot reach its caller's socket, so it gets
/// one of ours: `create` mounts a directory of the container's state on /run/notify, `start` listens in it and hands
/// "ready" on, with the pid of the container's init. Source: sd_notify(3); runc does the same.
namespace coppice::runtime_program {

/// Lets `spec` mount that directory and name the socket in it. @param state_root absolute
void add_notify_socket(runtime::Spec& spec, const std::string& state_root, const std::string& id);

/// The receiving end.
class NotifyProxy {
public:
    /// Before the container runs. Empty when the caller gave no socket or `create` did not know of one.
    static Result<std::optional<NotifyProxy>> listen(const runtime::StateRoot& root, const std::string& id);

    [[nodiscard]] const os::Fd& fd() const { return socket_; }
    /// Takes what has come; once it is READY=1, hands it on with MAINPID=`pid`. Blocks only
    /// while the caller's queue is full, for some seconds.
    /// @return then what `wait_for_caller` waits for
    Result<std::optional<os::Fd>> forward(pid_t pid) const;
    /// Blocks until that is done and the caller has read it, or until `process` has ended.
    Result<> forward_until_ready(const os::Fd& process, pid_t pid) const;

private:
    NotifyProxy(os::Fd socket, std::string caller) : socket_{std::move(socket)}, caller_{std::move(caller)} {}
    os::Fd socket_;
    std::string caller_;
};

/// Blocks until the caller has read what it was sent, at most 30 s. We must live until then, or it could not tell whose
/// word it was. @param barrier readable as soon as it has
void wait_for_caller(const os::Fd& barrier);

} // namespace coppice::runtime_program
