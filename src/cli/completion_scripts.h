#pragma once

namespace coppice::cli {

/// The files completion/coppice.bash, completion/_coppice and completion/coppice.fish.
extern const char *const kBashScript, *const kZshScript, *const kFishScript;

} // namespace coppice::cli
