#pragma once

/// Ctrl-C, counted instead of ending the process: for commands that have something to put in order first.
namespace coppice::cli {

/// From now on the signal is counted. May be called again.
void heed(int signal);
/// How many of them have come.
int interruptions();

} // namespace coppice::cli
