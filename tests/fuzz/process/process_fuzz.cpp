#include "coppice/runtime/spec.h"

#include "coppice/base/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    const auto process = runtime::parse_process({reinterpret_cast<const char*>(data), size});
    if (!process) {
        COPPICE_CHECK(!process.error().message().empty());
        return 0;
    }
    COPPICE_CHECK(!process->args.empty() && !process->args.front().empty());
    for (const auto* const list : {&process->args, &process->env})
        for (const std::string& text : *list)
            COPPICE_CHECK(text.find('\0') == std::string::npos); // each becomes a C string
    COPPICE_CHECK(process->cwd.starts_with('/'));
    COPPICE_CHECK(process->user.uid != UINT32_MAX && process->user.gid != UINT32_MAX);
    for (const runtime::Rlimit& limit : process->rlimits)
        COPPICE_CHECK(limit.soft <= limit.hard);
    return 0;
}
