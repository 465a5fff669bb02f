#include "coppice/security/merkle.h"

#include "coppice/security/sha256.h"

namespace coppice::security {

namespace {

constexpr std::string_view kLeaf{"\0", 1};
constexpr std::string_view kInner{"\1", 1};

MerkleRoot join(const MerkleRoot& left, const MerkleRoot& right)
{
    return sha256<MerkleRoot>(kInner, left.raw(), right.raw());
}

} // namespace

void MerkleTree::add(std::string_view digest)
{
    COPPICE_CHECK(digest.size() == MerkleRoot::kBytes);
    std::array<char, 8> index{};
    for (std::size_t i = 0; i < index.size(); ++i)
        index[i] = static_cast<char>(count_ >> (8 * i));
    Node node{.level = 0, .hash = sha256<MerkleRoot>(kLeaf, std::string_view{index.data(), index.size()}, digest)};
    for (; !pending_.empty() && pending_.back().level == node.level; pending_.pop_back())
        node = {.level = node.level + 1, .hash = join(pending_.back().hash, node.hash)};
    pending_.push_back(node);
    ++count_;
}

MerkleRoot MerkleTree::root() const
{
    if (pending_.empty()) return sha256<MerkleRoot>();
    // A node without a partner moves up unchanged until it meets one: the larger subtree to its left.
    MerkleRoot hash = pending_.back().hash;
    for (std::size_t i = pending_.size() - 1; i-- > 0;)
        hash = join(pending_[i].hash, hash);
    return hash;
}

} // namespace coppice::security
