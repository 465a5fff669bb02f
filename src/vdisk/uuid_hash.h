#pragma once

#include "erofs_format.h"

#include <memory>
#include <xxhash.h>

namespace coppice::vdisk {

/// The uuid of an image: a hash of it, uuid and checksum being zero. Source: docs/format/layer.md, "Superblock"
class UuidHash {
public:
    UuidHash() { XXH3_128bits_reset(state_.get()); }
    void add(std::string_view bytes) { XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()); }
    [[nodiscard]] std::string uuid() const
    {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state_.get()));
        std::string uuid{reinterpret_cast<const char*>(canonical.digest), kUuidBytes};
        uuid[6] = static_cast<char>((uuid[6] & 0x0F) | 0x80);
        uuid[8] = static_cast<char>((uuid[8] & 0x3F) | 0x80);
        return uuid;
    }

private:
    struct Free {
        void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
    };
    std::unique_ptr<XXH3_state_t, Free> state_{XXH3_createState()};
};

} // namespace coppice::vdisk
