#pragma once

#include "coppice/instance/log_file.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/fd.h"

#include <array>
#include <optional>

namespace coppice::instance {

/// What a detached instance writes, on its way into its log. Before `open` and for one that somebody attends there is
/// nothing to do. Stays where it is once it is watched.
class OutputLog {
public:
    /// Puts a pipe each in the place of our standard output and error: the container takes them over as they are.
    Result<> redirect();
    /// @param directory borrowed
    /// @param terminal when open, what is to be read in the place of the pipes
    Result<> open(int directory, const LogLimits& limits, os::Fd terminal);
    Result<> watch(os::EventLoop& loop);
    /// Keeps the rest, until nobody has the other ends open any more. Blocks.
    void drain();

private:
    struct Source {
        LogStream stream;
        os::Fd fd;
    };
    void keep(Source& source);
    std::array<Source, kLogStreams> sources_{{{LogStream::Out, {}}, {LogStream::Error, {}}}};
    std::optional<LogFile> log_;
};

} // namespace coppice::instance
