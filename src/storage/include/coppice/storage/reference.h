#pragma once

#include "coppice/store/vdisk.h"

#include <optional>
#include <string>
#include <string_view>

namespace coppice::storage {

/// What a user means by a word.
struct Reference {
    store::Snapshot snapshot;
    std::optional<store::Version> version; ///< that was named, or that the vdisk's name stands for
    std::string branch;                    ///< of that name, or empty
};

/// Finds what a reference stands for:
///   debian         the vdisk's default version     debian:3           its version 3
///   debian:test    its newest version in a state   debian@before      its tag
///   web-1          the snapshot below a branch     web-1@before       a tag of its vdisk, of a snapshot in its history
///   web-1@3fa2     a snapshot of its vdisk by the beginning of its id, where no tag has that name
///   web-1@-5m      the newest one that was there five minutes ago: taken of a branch, or below it; or of a vdisk
///   @3fa2, 3fa2    a snapshot by the beginning of its id; bare digits only where nothing has that name
/// Errors: NotFound, saying what there is; Invalid; Conflict (several snapshots)
Result<Reference> resolve(const store::View& view, std::string_view text);

} // namespace coppice::storage
