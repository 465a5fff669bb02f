// coppiced: the daemon.

#include "coppice/api/client.h"
#include "coppice/base/log.h"
#include "coppice/daemon/service.h"
#include "coppice/daemon/storage_routes.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <unistd.h>

int main(int argc, char** argv)
{
    using namespace coppice;
    const std::map<std::string, log::Level> levels{{"debug", log::Level::Debug},
                                                   {"info", log::Level::Info},
                                                   {"warning", log::Level::Warn},
                                                   {"error", log::Level::Error}};
    CLI::App app{"The daemon of Coppice: serves its API on a unix socket.", "coppiced"};
    daemon::DaemonOptions options;
    options.root = api::kDefaultRoot;
    options.version = COPPICE_VERSION;
    std::string level = "info", format = "text";
    app.add_option("--root", options.root, "State directory (default: /var/lib/coppice)")->type_name("DIR");
    app.add_option("--socket", options.socket,
                   "Where to listen (default: /run/coppice/coppiced.sock, or ROOT/coppiced.sock)")
        ->type_name("PATH");
    app.add_option("--log-level", level, "Least level of lines on standard error (default: info)")
        ->type_name("debug|info|warning|error")
        ->check(CLI::IsMember(levels));
    app.add_option("--log-format", format, "Form of these lines (default: text)")
        ->type_name("text|json")
        ->check(CLI::IsMember({"text", "json"}));
    app.set_version_flag("--version", "coppiced version " COPPICE_VERSION);
    try { // CLI11 speaks in exceptions; this is the outermost frame
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);
        std::fprintf(stderr, "coppiced: %s (see: coppiced --help)\n", error.what());
        return 2;
    }
    while (options.root.size() > 1 && options.root.ends_with('/'))
        options.root.pop_back();
    if (options.socket.empty()) options.socket = api::default_socket(options.root);
    log::configure("coppiced", STDERR_FILENO, format == "json" ? log::Format::Json : log::Format::Text,
                   levels.at(level));
    const auto status = daemon::run_daemon(options, daemon::storage_routes);
    if (status) return *status;
    log::error("", status.error().line());
    return 1;
}
