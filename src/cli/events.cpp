#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "daemon_link.h"
#include "declare.h"

#include <cstdio>

namespace coppice::cli {

namespace {

struct Options {
    std::uint64_t after = 0;
    std::string format = "text";
};

std::string text_of(const api::Event& event)
{
    std::string text = cat(event.time, "  ", printable(event.type), "  ", printable(event.subject));
    if (event.type == "operation.ended" && event.data.is_object())
        text += cat("  ", printable(event.data.value("state", "")));
    return text;
}

Result<int> follow(const Options& options, const GlobalOptions& global)
{
    const auto client = TRY(reach_daemon(global));
    TRY(client.follow_events(options.after, [&](const api::Event& event) {
        const std::string line = options.format == "json" ? json_text(api::to_json(event)) : text_of(event);
        std::puts(line.c_str());
        return std::fflush(stdout) == 0; // nobody reads any more: that is the end
    }));
    return 0;
}

} // namespace

void add_events(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<Options>(app, "events", "Show what happens in the daemon, until interrupted", chosen, follow);
    command.add_option("--after", options.after, "Begin behind the event with this id, not now")->type_name("ID");
    take_word(command.add_option("--format", options.format, "text, or json: one object a line (default: text)"),
              "text|json");
    command.footer("Example: coppice events --format json");
}

} // namespace coppice::cli
