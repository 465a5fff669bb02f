#include "coppice/instance/doctor.h"
#include "coppice/base/text.h"
#include "coppice/instance/leftovers.h"
#include "declare.h"
#include "listing.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace coppice::cli {

namespace {

struct Options {
    std::string format = "text", container_root = instance::kContainerRoot;
    bool repair = false;
};

void print_line(const char* mark, const std::string& name, const std::string& text)
{
    std::puts(cat(mark, "  ", name, std::string(name.size() < 42 ? 42 - name.size() : 0, ' '), ' ', text).c_str());
}
void print_hint(const std::string& hint)
{
    if (!hint.empty()) std::puts(cat("         -> ", hint).c_str());
}

void print_host(const instance::HostReport& host)
{
    std::puts(cat("kernel ", host.kernel, ", cgroups ", host.cgroups, "\n").c_str());
    for (const os::Feature& feature : host.features) {
        print_line(feature.available  ? "ok     "
                   : feature.required ? "MISSING"
                                      : "absent ",
                   feature.name, feature.needed_for);
        if (!feature.available) print_hint(feature.otherwise);
    }
    std::puts("\nways that are taken here:");
    for (const instance::ActivePath& path : host.paths) {
        print_line("       ", path.what, path.how);
        print_hint(path.better);
    }
    std::puts("\nprograms that some commands run:");
    for (const instance::Tool& tool : host.tools) {
        print_line(tool.available ? "ok     " : "absent ", tool.name, tool.needed_for);
        if (!tool.available) print_hint(cat("install the package ", tool.package));
    }
}

void print_leftovers(const std::vector<instance::Leftover>& leftovers, bool repair)
{
    std::puts(cat("\nleftovers of killed processes", repair ? " that could not be removed: " : ": ", leftovers.size())
                  .c_str());
    for (const instance::Leftover& leftover : leftovers)
        std::puts(cat("  ", printable(leftover.what), ": ", printable(leftover.where)).c_str());
    if (!leftovers.empty() && !repair) std::puts("  -> remove them with: coppice doctor --repair");
}

Result<int> examine(const Options& options, const GlobalOptions& global)
{
    const auto store = instance::InstanceStore::look(global.root);
    const auto host = instance::examine_host(store ? store->root() : "/");
    const bool as_json = options.format == "json";
    if (!as_json) print_host(host);
    std::fflush(stdout); // before an error on the other stream
    if (!store) return fail(Error{store.error()}.with("leftovers cannot be looked for"));
    if (options.repair) TRY_DOING("repair", instance::remove_leftovers(*store, options.container_root));
    const auto leftovers = TRY(instance::find_leftovers(*store, options.container_root));
    const bool healthy = host.is_able() && leftovers.empty();
    if (as_json) {
        auto report = instance::to_json(host);
        report["leftovers"] = nlohmann::json::array();
        for (const instance::Leftover& leftover : leftovers)
            report["leftovers"].push_back({{"what", leftover.what}, {"where", leftover.where}});
        report["healthy"] = healthy;
        print_json(report);
    } else {
        print_leftovers(leftovers, options.repair);
    }
    return healthy ? 0 : 1;
}

} // namespace

void add_doctor(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<Options>(app, "doctor", "Check what this host can do, and look for leftovers", chosen, examine);
    command.add_flag("--repair", options.repair, "Remove what killed processes left behind");
    command.add_option("--runtime-root", options.container_root, "State root of coppice-runtime to look into, too")
        ->type_name("DIR");
    take_format(command, options.format);
    command.footer("Example: coppice doctor\n"
                   "Exit status: 0 when all that is required is there and nothing is left over, else 1.");
}

} // namespace coppice::cli
