#include "attend.h"

#include "attach.h"

#include <cstdio>

namespace coppice::cli {

namespace {

Result<Streams> streams_of(instance::RunningInstance& running, bool with_input)
{
    auto& theirs = running.streams();
    if (!theirs.output.is_open()) return Streams::of_terminal(std::move(running.terminal()), with_input);
    Streams streams;
    streams.output = std::move(theirs.output);
    streams.errors = std::move(theirs.errors);
    if (with_input) streams.input = std::move(theirs.input);
    streams.terminal = theirs.terminal;
    return streams;
}

} // namespace

Result<int> attend(instance::RunningInstance& running, bool with_input, const os::SignalFd& signals)
{
    Result<std::optional<instance::RunningInstance::End>> end;
    const auto is_over = [&] {
        end = running.next();
        return !end || *end;
    };
    const Attachment attachment{.signals = signals,
                                .send = [&](int signal) { return running.send(signal); },
                                .events = running.events(),
                                .is_over = is_over,
                                .may_leave = true};
    const Over over = TRY(stay_attached(attachment, TRY(streams_of(running, with_input))));
    if (over == Over::HungUp) return kHungUpStatus;
    if (over == Over::Left) {
        TRY(running.detach());
        return 0;
    }
    const auto finished = TRY(std::move(end));
    if (!finished->note.empty()) std::fprintf(stderr, "coppice: %s\n", finished->note.c_str());
    return finished->status;
}

} // namespace coppice::cli
