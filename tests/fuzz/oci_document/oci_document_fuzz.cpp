#include "oci_documents.h"

#include "coppice/base/error.h"

// The JSON documents of an image, each text as every kind. What is accepted has digests that are safe as file names.

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size)
{
    using namespace coppice::imports;
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    if (const auto index = parse_index(text))
        for (const auto& descriptor : *index)
            COPPICE_CHECK(descriptor.digest.hex().size() == 64);
    if (const auto manifest = parse_image_manifest(text))
        for (const auto& layer : manifest->layers)
            COPPICE_CHECK(layer.kind == Descriptor::Kind::Layer);
    (void)parse_archive_manifest(text).has_value();
    (void)parse_image_config(text).has_value();
    return 0;
}
