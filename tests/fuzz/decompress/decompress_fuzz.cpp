#include "../memory_stream.h"
#include "coppice/base/error.h"
#include "decompress.h"

// A packed stream. Whatever it says: an end, and no more bytes than the budget has.

using namespace coppice;
using namespace coppice::imports;

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size)
{
    const Limits limits{.free_bytes = 1U << 16, .ratio = 4};
    UnpackBudget budget{limits};
    MemoryStream memory{{reinterpret_cast<const char*>(data), size}};
    const auto stream = decompress(memory, budget, true, "input");
    if (!stream) return 0;
    std::string buffer(4096, '\0');
    std::uint64_t all = 0;
    for (;;) {
        const auto got = (*stream)->read(buffer);
        if (!got || *got == 0) break;
        all += *got;
    }
    COPPICE_CHECK(all <= limits.free_bytes + (limits.ratio + 1) * size + buffer.size());
    return 0;
}
