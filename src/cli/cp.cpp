#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "daemon_link.h"
#include "declare.h"
#include "interrupt.h"
#include "names.h"
#include "unpack.h"
#include "work.h"

#include <csignal>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct Options {
    std::string place, destination;
    bool archive = false;
};

Result<> print_archive(const api::Client& client, const std::string& target)
{
    if (::isatty(STDOUT_FILENO) == 1)
        return fail(Error{ErrorKind::Invalid, "an archive is nothing for a terminal"}.hint("redirect the output"));
    return client.download({.target = target, .timeout = kDiskPatience}, [](std::string_view piece) {
        return os::write_all(STDOUT_FILENO, piece, "standard output");
    });
}

Result<> unpack(const api::Client& client, const std::string& target, const CopySource& source, const Options& options)
{
    auto unpacker = TRY(Unpacker::open(source, {.path = options.destination, .archive = options.archive}));
    TRY(client.download({.target = target, .timeout = kDiskPatience},
                        [&unpacker](std::string_view piece) { return unpacker.take(piece); }));
    return unpacker.finish();
}

Result<int> copy(const Options& options, const GlobalOptions& global)
{
    const auto place = TRY(parse_place(options.place));
    const CopySource source = copy_source(place.path);
    const auto target = cat(snapshot_target(place.reference), "/files?path=", api::encode_segment(source.path),
                            "&tar=true", options.archive || options.destination == "-" ? "&devices=true" : "");
    auto client = TRY(reach_daemon(global));
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) // what is half there goes
        heed(signal);
    client.heed([] { return interruptions() > 0; });
    if (options.destination == "-")
        TRY(print_archive(client, target));
    else
        TRY(unpack(client, target, source, options));
    return 0;
}

} // namespace

void add_cp(CLI::App& app, Command& chosen)
{
    auto [command, options] = declare<Options>(app, "cp", "Copy files out of a snapshot", chosen, copy);
    command
        .add_option("place", options.place,
                    "Which snapshot and what in it, as debian:3:/etc/passwd; DIR/. is what is in DIR")
        ->type_name("REF:/PATH")
        ->required()
        ->check(check_place);
    command.add_option("destination", options.destination, "Where to; - writes a tar archive to standard output")
        ->type_name("PATH")
        ->required()
        ->check(check_not_empty);
    command.add_flag("-a,--archive", options.archive, "With owners, all modes, extended attributes and device nodes");
    command.footer("Examples: coppice cp debian:3:/etc/passwd .\n"
                   "          coppice cp web-1:/var/www - | tar -t");
}

} // namespace coppice::cli
