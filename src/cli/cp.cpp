#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "daemon_link.h"
#include "declare.h"
#include "instance_copy.h"
#include "instances.h"
#include "interrupt.h"
#include "unpack.h"
#include "work.h"

#include <csignal>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct Options {
    std::string source, destination;
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

/// What the daemon has: a snapshot, or what a stopped instance has written.
Result<> copy_stored(const Options& options, const std::string& files, const PlaceName& place,
                     const GlobalOptions& global)
{
    const CopySource source = copy_source(place.path);
    const auto target = cat(files, "/files?path=", api::encode_segment(source.path), "&tar=true",
                            options.archive || options.destination == "-" ? "&devices=true" : "");
    auto client = TRY(reach_daemon(global));
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) // what is half there goes
        heed(signal);
    client.heed([] { return interruptions() > 0; });
    if (options.destination == "-") return print_archive(client, target);
    return unpack(client, target, source, options);
}

Result<> from_place(const Options& options, const PlaceName& place, const GlobalOptions& global)
{
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto config = store.read_config(place.reference);
    if (!config) return copy_stored(options, snapshot_target(place.reference), place, global);
    if (TRY(store.is_running(place.reference))) return copy_out(store, place, options.destination, options.archive);
    if (!config->root.starts_with('/')) return copy_stored(options, branch_target(place.reference), place, global);
    return fail(Error{ErrorKind::Conflict, cat("instance ", place.reference, " is on a path and does not run")}.hint(
        cat("start it: coppice start ", place.reference)));
}

Result<> to_place(const Options& options, const PlaceName& place, const GlobalOptions& global)
{
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto running = store.is_running(place.reference);
    if (!running)
        return fail(Error{ErrorKind::Invalid, cat(printable(place.reference), " is no instance")}.hint(
            "snapshots never change; files are copied into running instances"));
    if (*running) return copy_in(store, options.source, place, options.archive);
    return fail(Error{ErrorKind::Conflict, cat("instance ", place.reference, " does not run")}.hint(
        cat("start it: coppice start ", place.reference)));
}

std::string copy_complaint(const Options& options)
{
    const std::string wrong = check_place(options.source);
    const bool to = check_place(options.destination).empty();
    if (wrong.empty() && to) return "one of the two must be a path of this machine, or -";
    return to ? "" : wrong;
}

Result<int> copy(const Options& options, const GlobalOptions& global)
{
    if (const auto from = parse_place(options.source))
        TRY(from_place(options, *from, global));
    else
        TRY(to_place(options, TRY(parse_place(options.destination)), global));
    return 0;
}

} // namespace

void add_cp(CLI::App& app, Command& chosen)
{
    auto [command, options] =
        declare<Options>(app, "cp", "Copy files out of snapshots and instances, and into running instances", chosen,
                         copy, copy_complaint);
    command
        .add_option("source", options.source,
                    "Of a snapshot or an instance, as debian:3:/etc/passwd, or a path here; DIR/. is what is in DIR; - "
                    "reads a tar archive")
        ->type_name("REF:/PATH")
        ->required()
        ->check(check_not_empty);
    command
        .add_option("destination", options.destination,
                    "A path here, or NAME:/PATH of a running instance; - writes a tar archive")
        ->type_name("PATH")
        ->required()
        ->check(check_not_empty);
    command.add_flag("-a,--archive", options.archive, "With owners, all modes, extended attributes and device nodes");
    command.footer("Examples: coppice cp debian:3:/etc/passwd .\n"
                   "          coppice cp index.html web-1:/var/www\n"
                   "          coppice cp web-1:/var/www - | tar -t");
}

} // namespace coppice::cli
