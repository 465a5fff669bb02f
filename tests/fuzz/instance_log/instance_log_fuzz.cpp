#include "coppice/base/error.h"
#include "coppice/instance/log_record.h"

/// Any line of a log. What is taken for a record is written back as it was.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    const std::string line{reinterpret_cast<const char*>(data), size};
    const auto record = instance::parse_record(line);
    if (!record) return 0;
    std::string again;
    append_record(again, *record);
    COPPICE_CHECK(again == line + '\n' && instance::size_of(*record) == again.size());
    return 0;
}
