#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"
#include "instances.h"
#include "work.h"

namespace coppice::cli {

namespace {

struct Options {
    std::string name, to;
};

Result<int> run(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    TRY_DOING(cat("rename ", options.name),
              change(client, "POST", instance_target(options.name, "/rename"), nlohmann::json{{"name", options.to}}));
    return 0;
}

} // namespace

void add_rename(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<Options>(app, "rename", "Give a stopped instance, and its branch, another name", chosen, run);
    command.add_option("name", options.name, "Name of the instance")->type_name("NAME")->required()->check(&not_empty);
    command.add_option("new", options.to, "Its new name")->type_name("NEW")->required()->check(&not_empty);
    command.footer("Example: coppice rename web-1 web-old");
}

} // namespace coppice::cli
