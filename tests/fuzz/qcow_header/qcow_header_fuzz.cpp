#include "coppice/base/error.h"
#include "qcow.h"

// The beginning of a disk image. What is found right is within the limits and names no other file.

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size)
{
    using namespace coppice;
    const std::string_view header{reinterpret_cast<const char*>(data), size};
    const imports::Limits limits{.logical_bytes = 1U << 30};
    const auto bytes = imports::check_qcow(header, limits);
    if (!bytes) return 0;
    COPPICE_CHECK(imports::is_qcow(header) && *bytes <= limits.logical_bytes);
    COPPICE_CHECK(header.substr(8, 8) == std::string_view("\0\0\0\0\0\0\0\0", 8));
    return 0;
}
