#include "coppice/daemon/router.h"

#include "coppice/base/error.h"

#include <string_view>

/// Input: a request target as it stands in the request line.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    using namespace coppice::daemon;
    static const Router kRouter = [] {
        const auto nothing = [](const Request&) { return Result<Reply>{Reply{}}; };
        return Router{{{.method = Method::Get, .path = "/v1", .id = "a", .handler = nothing},
                       {.method = Method::Get, .path = "/v1/things/{id}", .id = "b", .handler = nothing},
                       {.method = Method::Get, .path = "/v1/things/{id}/{part}", .id = "c", .handler = nothing}}};
    }();
    const auto target = parse_target({reinterpret_cast<const char*>(data), size});
    if (!target) return 0;
    for (const std::string& segment : target->segments) {
        COPPICE_CHECK(!segment.empty() && segment != "." && segment != "..");
        for (const char c : segment)
            COPPICE_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
    }
    const auto found = kRouter.find(Method::Get, *target);
    if (const auto* const match = std::get_if<Router::Match>(&found))
        for (const auto& [name, value] : match->params)
            COPPICE_CHECK(!value.empty());
    return 0;
}
