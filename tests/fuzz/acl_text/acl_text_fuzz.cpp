#include "coppice/base/error.h"
#include "coppice/import/acl_text.h"

// An ACL, as text and as attribute. What one of them says the other one says, too.

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size)
{
    using namespace coppice;
    const std::string_view bytes{reinterpret_cast<const char*>(data), size};
    for (const auto& attribute : {imports::parse_acl_text(bytes), Result<std::string>{std::string{bytes}}}) {
        if (!attribute) continue;
        const auto text = imports::print_acl(*attribute);
        COPPICE_CHECK(text || *attribute == bytes); // we make none that the kernel would not make
        if (!text) continue;
        const auto again = imports::parse_acl_text(*text);
        COPPICE_CHECK(again && *again == *attribute);
    }
    return 0;
}
