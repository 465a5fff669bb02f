#include "coppice/store/manifest.h"

#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    static const auto key = security::SigningKey::make();
    static const std::vector trusted{key.public_key()};
    COPPICE_CHECK(!store::verify_manifest(text, trusted)); // nobody has signed this
    const auto manifest = store::parse_manifest(text);
    if (!manifest) return 0;
    const auto again = store::encode_manifest(*manifest);
    COPPICE_CHECK(again.has_value());
    const auto parsed = store::parse_manifest(*again);
    COPPICE_CHECK(parsed && *parsed == *manifest);
    return 0;
}
