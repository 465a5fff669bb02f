#pragma once

#include "coppice/instance/log_file.h"
#include "coppice/os/event_loop.h"
#include "coppice/os/fd.h"

#include <array>
#include <functional>
#include <optional>
#include <string_view>

namespace coppice::instance {

/// What a detached instance writes, on its way into its log. Before `open` and for one that somebody attends there is
/// nothing to do. Stays where it is once it is watched.
class OutputLog {
public:
    /// Puts a pipe each in the place of our standard output and error: the container takes them over as they are.
    Result<> redirect();
    using Show = std::function<void(LogStream, std::string_view)>;
    /// @param directory borrowed
    /// @param terminal when open, what is to be read in the place of the pipes
    /// @param show gets everything as it comes, too
    Result<> open(int directory, const LogLimits& limits, os::Fd terminal, Show show);
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
    Show show_;
};

} // namespace coppice::instance
