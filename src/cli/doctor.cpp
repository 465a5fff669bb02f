#include "coppice/instance/doctor.h"
#include "command.h"
#include "coppice/base/text.h"
#include "coppice/instance/leftovers.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

namespace coppice::cli {

namespace {

/// True when nothing that is required is missing.
bool show_features(const std::string& root)
{
    const auto host = instance::examine_host(root);
    std::printf("kernel %s, cgroups %s\n\n", host.kernel.c_str(), host.cgroups.c_str());
    for (const os::Feature& feature : host.features) {
        const char* const mark = feature.available ? "ok     " : feature.required ? "MISSING" : "absent ";
        std::printf("%s  %-42s %s\n", mark, feature.name.c_str(), feature.needed_for.c_str());
        if (!feature.available) std::printf("         -> %s\n", feature.otherwise.c_str());
    }
    return host.is_able();
}

/// True when nothing is left over.
Result<bool> look_for_leftovers(const instance::InstanceStore& store, const std::string& container_root, bool repair)
{
    auto leftovers = TRY(instance::find_leftovers(store, container_root));
    std::printf("\nleftovers of killed processes: %zu\n", leftovers.size());
    for (const auto& leftover : leftovers)
        std::printf("  %s: %s\n", leftover.what.c_str(), leftover.where.c_str());
    if (leftovers.empty()) return true;
    if (!repair) {
        std::puts("  -> remove them with: coppice doctor --repair");
        return false;
    }
    TRY_DOING("repair", instance::remove_leftovers(store, container_root));
    leftovers = TRY(instance::find_leftovers(store, container_root));
    std::printf("repaired; left: %zu\n", leftovers.size());
    return leftovers.empty();
}

Result<int> examine(bool repair, const std::string& container_root, const GlobalOptions& global)
{
    const auto store = instance::InstanceStore::look(global.root);
    const bool able = show_features(store ? store->root() : "/");
    std::fflush(stdout); // before an error on the other stream
    if (!store) return fail(Error{store.error()}.with("leftovers cannot be looked for"));
    const bool clean = TRY(look_for_leftovers(*store, container_root, repair));
    return able && clean ? 0 : 1;
}

} // namespace

void add_doctor(CLI::App& app, Command& chosen)
{
    struct Options {
        bool repair = false;
        std::string container_root = instance::kContainerRoot;
    };
    auto options = std::make_shared<Options>();
    CLI::App* const command = app.add_subcommand("doctor", "Check what this host can do, and look for leftovers");
    command->add_flag("--repair", options->repair, "Remove what killed processes left behind");
    command->add_option("--runtime-root", options->container_root, "State root of coppice-runtime to look into, too")
        ->type_name("DIR");
    command->footer("Exit status: 0 when all that is required is there and nothing is left over, else 1.");
    command->callback([options, &chosen] {
        chosen = [options](const GlobalOptions& global) {
            return examine(options->repair, options->container_root, global);
        };
    });
}

} // namespace coppice::cli
