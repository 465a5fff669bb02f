#pragma once

#include "coppice/security/digest.h"

#include <vector>

namespace coppice::security {

struct MerkleKind {};
using MerkleRoot = Digest<MerkleKind>;

/// Merkle root over a sequence of digests, made as they come; memory grows with the logarithm of their number.
/// Source: docs/format/chunk-table.md, section "Merkle root"
class MerkleTree {
public:
    void add(std::string_view digest); ///< 32 bytes
    [[nodiscard]] MerkleRoot root() const;

private:
    struct Node {
        unsigned level;
        MerkleRoot hash;
    };
    std::uint64_t count_ = 0;
    std::vector<Node> pending_; // complete subtrees, larger ones first
};

} // namespace coppice::security
