#pragma once

#include "coppice/instance/log_record.h"
#include "coppice/instance/protocol.h"
#include "coppice/os/fd.h"

#include <list>
#include <string_view>

namespace coppice::instance {

/// Those who have attached themselves to a running instance: they see what it writes, and hear of its end.
class Watchers {
public:
    /// @param socket on which it has said `Attach`
    /// @param with_terminal whether output and errors are one
    /// @param input what it may write to, handed over as it is; not open: the instance takes none
    Result<> add(os::Fd socket, bool with_streams, bool with_terminal, const os::Fd& input);
    /// One that does not read is waited for a moment, and then sees no more of it: it must not hold the instance up.
    void show(LogStream stream, std::string_view text);
    /// To all. Those that have gone are forgotten.
    void tell(Say word, std::string_view text);

private:
    struct Watcher {
        os::Fd socket, output, errors;
    };
    std::list<Watcher> all_;
};

} // namespace coppice::instance
