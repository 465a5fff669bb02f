#include "instances.h"

#include "coppice/api/client.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace coppice::cli {

Result<int> for_each(const std::vector<std::string>& names, const std::function<Result<>(const std::string&)>& act)
{
    Result<> outcome;
    for (const std::string& name : names) {
        auto done = act(name);
        if (done) {
            std::puts(name.c_str());
        } else if (outcome) {
            outcome = std::move(done);
        } else {
            std::fprintf(stderr, "coppice: %s\n", done.error().line().c_str());
        }
    }
    TRY(std::move(outcome));
    return 0;
}

std::string instance_target(std::string_view name, std::string_view part)
{
    return cat("/v1/instances/", api::encode_segment(name), part);
}

Result<> close_input()
{
    const auto null = TRY(os::open_at(os::kCwd, "/dev/null", O_RDONLY));
    if (::dup2(null.get(), STDIN_FILENO) < 0) return fail_os(errno, "close standard input");
    return {};
}

} // namespace coppice::cli
