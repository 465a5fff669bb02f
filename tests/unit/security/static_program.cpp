#include "coppice/security/sha256.h"
#include "coppice/security/signing.h"

// Linked statically: 0 when the library works without its shared parts.
int main()
{
    using namespace coppice::security;
    const auto key = SigningKey::make();
    const auto digest = sha256(std::string_view{"abc"});
    const bool hashed = digest.hex().starts_with("ba7816bf");
    return hashed && key.public_key().verify(digest.raw(), key.sign(digest.raw())) ? 0 : 1;
}
