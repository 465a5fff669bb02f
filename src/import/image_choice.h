#pragma once

#include "coppice/import/tree_import.h"
#include "oci_documents.h"

#include <vector>

namespace coppice::imports {

inline constexpr int kIndexDepth = 4; ///< of indexes within indexes

/// The one that is meant among those of an index.
/// @param wanted    the architecture not empty
/// @param outermost what a reference names is in this index, not in one within it
/// Errors: NotFound, Invalid (several), saying which there are
Result<Descriptor> choose(const std::vector<Descriptor>& all, const ImageChoice& wanted, bool outermost);

/// NotFound. @param there what is there instead
std::unexpected<Error> none_of_several(std::string what, std::string_view there);

} // namespace coppice::imports
