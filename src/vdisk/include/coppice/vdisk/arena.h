#pragma once

#include "coppice/base/result.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

/// Containers for a million small things: no memory per element beside the element, no copying while they grow.
namespace coppice::vdisk {

/// A vector that grows by blocks: elements stay where they are, and growth needs no second copy of everything.
template <typename T> class Chunked {
public:
    void push_back(const T& value)
    {
        if (size_ % kBlock == 0) blocks_.push_back(std::make_unique_for_overwrite<T[]>(kBlock));
        ++size_;
        (*this)[size_ - 1] = value;
    }
    T& operator[](std::size_t i) { return blocks_[i / kBlock][i % kBlock]; }
    const T& operator[](std::size_t i) const { return blocks_[i / kBlock][i % kBlock]; }
    [[nodiscard]] std::size_t size() const { return size_; }

private:
    static constexpr std::size_t kBlock = 4096;
    std::vector<std::unique_ptr<T[]>> blocks_;
    std::size_t size_ = 0;
};

/// Byte strings, each kept once and named by 32 bits. 0 is the empty string. Const methods: any thread.
class StringPool {
public:
    using Id = std::uint32_t;

    /// @param text at most kMostBytes. Errors: Unavailable (4 GiB of distinct strings)
    Result<Id> intern(std::string_view text);
    /// `id` must be of this pool. The view stays valid as long as the pool.
    [[nodiscard]] std::string_view get(Id id) const;

    /// Of all strings together, about.
    [[nodiscard]] std::size_t bytes() const { return blocks_.empty() ? 0 : (blocks_.size() - 1) * kBlockBytes + used_; }

    static constexpr std::size_t kMostBytes = 512U << 10;

private:
    static constexpr std::size_t kBlockBytes = 1U << 20;
    Result<Id> store(std::string_view text);
    void grow();

    std::vector<std::unique_ptr<char[]>> blocks_;
    std::size_t used_ = 0;   ///< of the last block
    std::vector<Id> slots_;  ///< open addressing by hash; 0 is free
    std::size_t filled_ = 0; ///< slots in use
};

} // namespace coppice::vdisk
