#include "commands.h"
#include "coppice/base/log.h"
#include "coppice/os/file.h"
#include "coppice/runtime/control.h"
#include "coppice/runtime/spec.h"

#include <algorithm>
#include <unistd.h>

namespace coppice::runtime_program {

namespace {

Result<std::string> read_resources(const std::string& path)
{
    if (path != "-") return os::read_file(os::kCwd, path, runtime::kConfigMaxBytes);
    const os::Fd input{::dup(STDIN_FILENO)};
    if (!input.is_open()) return fail_os(errno, "read standard input");
    return os::read_all(input, runtime::kConfigMaxBytes, "standard input");
}

} // namespace

Result<int> update_container(const Options& options, const runtime::StateRoot& root)
{
    const auto id = TRY(one_argument(options.command));
    const auto& values = options.command.limits;
    const bool ignored = std::any_of(values.begin(), values.end(), [](const auto& value) {
        return kUpdateFlags.at(value.first).kind == UpdateFlag::Kind::Ignored;
    });
    if (ignored) log::warn("", "limits of kernel memory are ignored: kernels have none any more");
    const auto& file = options.command.resources_file;
    const auto resources = file ? TRY_DOING("--resources", read_resources(*file)) : TRY(to_resources(values));
    TRY(runtime::update(root, id, resources));
    return 0;
}

Result<int> pause_container(const Options& options, const runtime::StateRoot& root)
{
    TRY(runtime::pause(root, TRY(one_argument(options.command))));
    return 0;
}

Result<int> resume_container(const Options& options, const runtime::StateRoot& root)
{
    TRY(runtime::resume(root, TRY(one_argument(options.command))));
    return 0;
}

} // namespace coppice::runtime_program
