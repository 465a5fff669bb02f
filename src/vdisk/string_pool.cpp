#include "coppice/base/text.h"
#include "coppice/vdisk/arena.h"

#include <cstring>
#include <xxhash.h>

namespace coppice::vdisk {

namespace {

constexpr std::uint64_t kMostPositions = 1ULL << 32U; // an id is the position in all blocks
constexpr std::size_t kFirst = 1;                     // position 0 is the empty string's id

std::uint64_t hash(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

} // namespace

std::string_view StringPool::get(Id id) const
{
    if (id == 0) return {};
    const char* const at = blocks_[id / kBlockBytes].get() + id % kBlockBytes;
    std::uint32_t size = 0;
    std::memcpy(&size, at, sizeof size);
    return {at + sizeof size, size};
}

Result<StringPool::Id> StringPool::store(std::string_view text)
{
    const std::uint32_t size = static_cast<std::uint32_t>(text.size());
    if (blocks_.empty() || used_ + sizeof size + size > kBlockBytes) {
        if (blocks_.size() == kMostPositions / kBlockBytes)
            return fail(Error{ErrorKind::Unavailable, "the tree has more than 4 GiB of names and attributes"}.hint(
                "split it into several layers"));
        blocks_.push_back(std::make_unique_for_overwrite<char[]>(kBlockBytes));
        used_ = blocks_.size() == 1 ? kFirst : 0;
    }
    char* const at = blocks_.back().get() + used_;
    std::memcpy(at, &size, sizeof size);
    std::memcpy(at + sizeof size, text.data(), size);
    const auto id = static_cast<Id>((blocks_.size() - 1) * kBlockBytes + used_);
    used_ += sizeof size + size;
    return id;
}

void StringPool::grow()
{
    const std::vector<Id> old = std::exchange(slots_, {});
    slots_.resize(old.empty() ? 1024 : old.size() * 2);
    for (const Id id : old) {
        if (id == 0) continue;
        std::size_t slot = hash(get(id)) % slots_.size();
        while (slots_[slot] != 0)
            slot = (slot + 1) % slots_.size();
        slots_[slot] = id;
    }
}

Result<StringPool::Id> StringPool::intern(std::string_view text)
{
    COPPICE_CHECK(text.size() <= kMostBytes);
    if (text.empty()) return Id{0};
    if (filled_ * 4 >= slots_.size() * 3) grow();
    std::size_t slot = hash(text) % slots_.size();
    for (; slots_[slot] != 0; slot = (slot + 1) % slots_.size())
        if (get(slots_[slot]) == text) return slots_[slot];
    const Id id = TRY(store(text));
    slots_[slot] = id;
    ++filled_;
    return id;
}

} // namespace coppice::vdisk
