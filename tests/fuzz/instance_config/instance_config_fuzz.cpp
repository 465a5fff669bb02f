#include "coppice/instance/config.h"

#include "coppice/base/error.h"
#include "coppice/base/id.h"

/// What was read can be written and read again without a change.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    const auto config = instance::parse_instance_config({reinterpret_cast<const char*>(data), size});
    if (!config) return 0;
    COPPICE_CHECK(check_name(config->name));
    const auto again = instance::parse_instance_config(to_json(*config));
    COPPICE_CHECK(again && *again == *config);
    return 0;
}
