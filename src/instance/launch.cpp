#include "coppice/instance/launch.h"

#include "coppice/base/text.h"
#include "coppice/instance/boot.h"
#include "coppice/instance/leftovers.h"
#include "coppice/instance/protocol.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/executable.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <unistd.h>

namespace coppice::instance {

namespace {

Result<os::Process> spawn_supervisor(const os::Fd& socket, bool has_no_streams)
{
    const auto program = TRY(os::find_companion("coppice-supervisor"));
    const auto null = TRY(os::open_at(os::kCwd, "/dev/null", O_RDWR));
    return os::fork_process({}, [&] {
        ::setsid(); // a Ctrl-C at the starter's terminal is the starter's to hand on
        os::reset_signals();
        if (has_no_streams)
            for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
                ::dup2(null.get(), fd);
        if (socket.get() == kSupervisorSocket)
            ::fcntl(kSupervisorSocket, F_SETFD, 0);
        else
            ::dup2(socket.get(), kSupervisorSocket);
        [[maybe_unused]] const auto closing = os::mark_cloexec_from(kSupervisorSocket + 1);
        std::array<char*, 2> args{const_cast<char*>("coppice-supervisor"), nullptr};
        const auto failed = os::execute_protected(program, args.data(), environ);
        [[maybe_unused]] const auto said = say(os::Fd{::dup(kSupervisorSocket)}, Say::Failed, encode(failed.error()));
        return 1;
    });
}

} // namespace

Error RunningInstance::supervisor_died()
{
    Error error{ErrorKind::Gone, cat("the supervisor of instance ", name_, " has died")};
    supervisor_ = os::Process{};
    if (store_ == nullptr) return std::move(error).hint("coppiced undoes what it had made");
    const auto cleaned = clean_up_dead(*store_, name_);
    return cleaned ? std::move(error).hint("what it had made was undone")
                   : std::move(error).hint(cat("clean up with: coppice doctor --repair: ", cleaned.error().message()));
}

Result<> RunningInstance::reap()
{
    if (supervisor_.pid() > 0) TRY(supervisor_.wait());
    return {};
}

Result<> RunningInstance::wait_for_start()
{
    auto heard = TRY(hear(socket_));
    if (!heard) return fail(supervisor_died());
    if (heard->word == Say::Failed) {
        [[maybe_unused]] const auto status = reap();
        return fail(decode_error(heard->text));
    }
    COPPICE_CHECK(heard->word == Say::Started);
    terminal_ = heard->take_fd();
    return {};
}

Result<RunningInstance> RunningInstance::start(const InstanceStore& store, const InstanceConfig& config, bool detached)
{
    const auto init_program = TRY(find_init_program(config));
    auto [ours, theirs] = TRY(os::socket_pair());
    auto supervisor = TRY(spawn_supervisor(theirs, detached || config.terminal));
    theirs.reset();
    RunningInstance running{&store, config.name, std::move(supervisor), std::move(ours)};
    TRY(say(running.socket_, Say::Launch,
            to_text(Launch{.store_root = store.root(),
                           .detached = detached,
                           .by_daemon = false,
                           .init_program = init_program,
                           .config = config})));
    TRY(running.wait_for_start());
    return running;
}

Result<RunningInstance> RunningInstance::join(os::Fd link, const std::string& name, bool terminal)
{
    RunningInstance running{nullptr, name, os::Process{}, std::move(link)};
    const std::vector<int> streams{STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO};
    // It may have failed already: what it said of that is there to be read.
    if (const auto said = say(running.socket_, Say::Streams, {}, terminal ? std::vector<int>{} : streams);
        !said && said.error().os_errno() != EPIPE)
        return fail(said.error());
    TRY(running.wait_for_start());
    return running;
}

Result<RunningInstance> RunningInstance::attach(const InstanceStore& store, const std::string& name, bool with_streams)
{
    constexpr int kPatienceMs = 5'000;
    const auto directory = TRY(store.find_directory(name));
    const auto stopped = [&] {
        return fail(Error{ErrorKind::Conflict, cat("instance ", name, " is not running")}.hint("see: coppice ps -a"));
    };
    auto socket = os::connect_in(directory.get(), kControlSocket, kPatienceMs);
    if (!socket && (socket.error().kind() == ErrorKind::NotFound || socket.error().kind() == ErrorKind::Conflict))
        return stopped();
    if (!socket) return fail(std::move(socket).error());
    RunningInstance running{nullptr, name, os::Process{}, *std::move(socket)};
    if (!say(running.socket_, Say::Attach, with_streams ? kAttachStreams : std::string_view{})) return stopped();
    auto heard = TRY(hear(running.socket_));
    if (!heard) return stopped();
    if (heard->word == Say::Failed) return fail(decode_error(heard->text));
    Streams& streams = running.streams_;
    streams.terminal = heard->text == kAttachTerminal;
    std::vector<os::Fd*> wanted{&streams.output, &streams.errors, &streams.input};
    if (streams.terminal) wanted.erase(wanted.begin() + 1);
    for (std::size_t i = 0; i < std::min(wanted.size(), heard->fds.size()); ++i)
        *wanted[i] = std::move(heard->fds[i]);
    return running;
}

RunningInstance::~RunningInstance()
{
    if (supervisor_.pid() <= 0) return;
    socket_.reset(); // the supervisor takes this as the order to end and clean up; killing it would leave that to us
    [[maybe_unused]] const auto status = supervisor_.wait();
}

Result<> RunningInstance::send(int signal) const { return say(socket_, Say::Signal, cat(signal)); }

Result<std::optional<RunningInstance::End>> RunningInstance::next()
{
    const auto heard = TRY(hear(socket_));
    if (!heard) return fail(supervisor_died());
    if (heard->word == Say::Failed) {
        [[maybe_unused]] const auto status = reap();
        return fail(decode_error(heard->text));
    }
    if (heard->word != Say::Ended) return std::optional<End>{};
    const auto ended = TRY(parse_ended(heard->text));
    TRY(reap());
    return std::optional<End>{End{.status = ended.status, .note = ended.note}};
}

Result<> RunningInstance::detach()
{
    // A short command may have ended, and its supervisor with it, before we take our leave.
    if (const auto said = say(socket_, Say::Detach); !said && said.error().os_errno() != EPIPE) return said;
    (void)supervisor_.detach();
    return {};
}

} // namespace coppice::instance
