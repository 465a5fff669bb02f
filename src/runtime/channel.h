#pragma once

#include "coppice/os/fd.h"
#include "coppice/os/unix_socket.h"

#include <string>
#include <string_view>
#include <vector>

namespace coppice::runtime {

/// What creator and container init say to each other while the container comes to be.
enum class Word : char {
    Mounts = 'm', ///< to init: descriptors of root and devices, in the order of the plan
    Parts = 'p',  ///< from init: the next descriptors of the host that mounts need, please / to init: here they are
    Listener =
        'l',      ///< from init: the number of a filter's descriptor that is about to be / to init: it was handed over
    Hooks = 'h',  ///< both ways: namespaces are there, run the hooks / they have run
    Placed = 'P', ///< to init: systemd has moved it into its cgroup (sent only where systemd does that)
    Ready = 'r',  ///< from init: all but the program is set up
    Finish = 'f', ///< to init: recorded; the text is the system call filter. Now wait for the start.
    Failed = 'e', ///< from init: the text is the error
};

/// One end of that conversation. A peer that dies ends it with an error; nothing blocks for ever.
class Channel {
public:
    explicit Channel(os::Fd socket) : socket_{std::move(socket)} {}

    Result<> say(Word word, std::string_view text = {}, const std::vector<int>& fds = {}) const;
    /// Next message; an error that the peer reported comes back as that error.
    Result<os::Message> listen(Word& word) const;
    /// Waits for `word`, which must be the next one to come. Errors: Gone (the peer has died)
    Result<os::Message> expect(Word word) const;
    void report(const Error& error) const;

    [[nodiscard]] const os::Fd& socket() const { return socket_; }

private:
    os::Fd socket_;
};

} // namespace coppice::runtime
