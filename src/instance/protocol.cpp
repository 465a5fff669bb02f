#include "coppice/instance/protocol.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/unix_socket.h"

namespace coppice::instance {

namespace {

constexpr std::size_t kMessageMaxBytes = 192U << 10; // what a socket takes as one message by default

} // namespace

std::string to_text(const Launch& launch)
{
    return cat(launch.detached ? "detached" : "attached", '\n', launch.by_daemon ? "daemon" : "starter", '\n',
               launch.by_policy ? "policy" : "somebody", '\n', launch.store_root, '\n', launch.init_program, '\n',
               to_json(launch.config));
}

Result<Launch> parse_launch(std::string_view text)
{
    Launch launch;
    launch.detached = next_part(text, '\n') == "detached";
    launch.by_daemon = next_part(text, '\n') == "daemon";
    launch.by_policy = next_part(text, '\n') == "policy";
    launch.store_root = next_part(text, '\n');
    launch.init_program = next_part(text, '\n');
    launch.config = TRY(parse_instance_config(text));
    return launch;
}

std::string to_text(const Ended& ended) { return cat(ended.status, '\n', ended.note); }

Result<Ended> parse_ended(std::string_view text)
{
    const auto status = TRY(parse_integer(next_part(text, '\n'), 0, 255));
    return Ended{.status = static_cast<int>(status), .note = std::string{text}};
}

Result<> say(const os::Fd& socket, Say word, std::string_view text, const std::vector<int>& fds)
{
    if (text.size() >= kMessageMaxBytes)
        return fail(ErrorKind::Invalid, "the command, its environment and options are too long");
    return os::send_message(socket, cat(static_cast<char>(word), text), fds);
}

Result<std::optional<Heard>> hear(const os::Fd& socket)
{
    auto message = TRY(os::receive_message(socket, kMessageMaxBytes));
    if (message.bytes.empty()) return std::optional<Heard>{};
    return std::optional<Heard>{Heard{.word = static_cast<Say>(message.bytes.front()),
                                      .text = message.bytes.substr(1),
                                      .fds = std::move(message.fds)}};
}

} // namespace coppice::instance
