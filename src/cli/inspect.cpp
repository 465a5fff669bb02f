#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "instances.h"
#include "work.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct Options {
    std::vector<std::string> names;
};

Result<int> run(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    nlohmann::json all = nlohmann::json::array();
    for (const std::string& name : options.names)
        all.push_back(TRY_DOING(cat("inspect ", name), ask(client, instance_target(name))));
    std::puts(all.dump(2).c_str());
    return 0;
}

} // namespace

void add_inspect(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<Options>(app, "inspect", "Everything that is known about instances, as JSON", chosen, run);
    command.add_option("names", options.names, "Names of the instances")
        ->type_name("NAME")
        ->required()
        ->check(&not_empty);
    command.footer("Example: coppice inspect web");
}

} // namespace coppice::cli
