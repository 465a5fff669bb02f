#pragma once

#include "coppice/security/digest.h"

#include <memory>
#include <string_view>

namespace coppice::security {

struct AnyKind {};
using Sha256Digest = Digest<AnyKind>;

/// SHA-256 in pieces. One object at a time in one thread; `finish` makes it ready for the next message without a new
/// allocation. Aborts when the library cannot hash, which only exhausted memory or a broken installation brings about.
class Sha256 {
public:
    Sha256();
    void update(std::string_view data);
    template <typename D = Sha256Digest> D finish()
    {
        D digest;
        finish(digest.bytes.data());
        return digest;
    }

private:
    struct Free {
        void operator()(void* context) const;
    };
    void finish(unsigned char* digest);
    std::unique_ptr<void, Free> context_;
};

/// The SHA-256 of `parts`, one after another. Uses a context of the thread. `D` is the kind of digest that it is.
template <typename D = Sha256Digest, typename... Parts> D sha256(const Parts&... parts)
{
    thread_local Sha256 hash;
    (hash.update(parts), ...);
    return hash.finish<D>();
}

} // namespace coppice::security
