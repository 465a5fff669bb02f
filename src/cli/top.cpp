#include "declare.h"
#include "listing.h"
#include "watch_text.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct TopOptions {
    std::string name;
    ListOptions list;
};

Result<int> show_processes(const TopOptions& options, const GlobalOptions& global)
{
    const auto form = TRY(Table::parse_form(options.list.format));
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto processes = TRY(instance::read_processes(store, options.name));
    std::fputs(processes_text(processes, form).c_str(), stdout);
    return 0;
}

} // namespace

void add_top(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<TopOptions>(app, "top", "The processes of a running instance", chosen, show_processes);
    command.add_option("name", options.name, "Name of the instance")->type_name("NAME")->required()->check(&not_empty);
    add_list_options(command, options.list, nullptr);
    command.footer("Example: coppice top web");
}

} // namespace coppice::cli
