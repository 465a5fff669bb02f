#pragma once

#include "coppice/base/result.h"
#include "coppice/runtime/state.h"
#include "options.h"

namespace coppice::runtime_program {

/// Runs the chosen command. The value is the exit status of the program.
Result<int> run_command(const Options& options);

/// The id, for commands that take nothing else. Errors: Invalid
Result<std::string> one_argument(const CommandOptions& options);

// list.cpp
Result<int> list_containers(const Options& options, const runtime::StateRoot& root);

// update.cpp
Result<int> update_container(const Options& options, const runtime::StateRoot& root);
Result<int> pause_container(const Options& options, const runtime::StateRoot& root);
Result<int> resume_container(const Options& options, const runtime::StateRoot& root);

// watch.cpp
Result<int> show_events(const Options& options, const runtime::StateRoot& root);
Result<int> list_processes(const Options& options, const runtime::StateRoot& root);

} // namespace coppice::runtime_program
