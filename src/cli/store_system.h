#pragma once

#include "command.h"

namespace coppice::cli {

/// The store's part of `coppice system`: df, gc, fsck.
void add_store_system(CLI::App& group, Command& chosen);

} // namespace coppice::cli
