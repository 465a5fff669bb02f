#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <functional>

namespace coppice::store {

/// Asked again and again by long work, in its own thread, with the bytes it has read or written so far. Its error ends
/// the work, and is the work's own.
using Watch = std::function<Result<>(std::uint64_t bytes)>;

inline Result<> unwatched(std::uint64_t /*bytes*/) { return {}; }

} // namespace coppice::store
