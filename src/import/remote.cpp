#include "coppice/import/remote.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/store/store.h"
#include "program.h"

#include <algorithm>
#include <array>
#include <csignal>

namespace coppice::imports {

namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// Letters, digits and `more`; never an option's first character.
Result<> check_word(std::string_view word, std::string_view more, std::string_view what)
{
    const std::string allowed = cat(kLetters, more);
    if (word.empty() || word.size() > 512 || word.front() == '-' ||
        word.find_first_not_of(allowed) != std::string_view::npos)
        return fail(ErrorKind::Invalid, cat("'", printable(word), "' is no ", what));
    return {};
}

bool is_end_of_reader(const os::ExitStatus& status)
{
    return (status.by_signal && status.code == 128 + SIGPIPE) || status.code == 128 + SIGPIPE;
}

/// A tree from the archive that a program writes. @param judge what its end means
Result<Imported> import_output(const ProgramOptions& options, const std::string& name, const Context& context,
                               const std::function<Result<>(const Program::Ended&)>& judge)
{
    const auto program = TRY(Program::start(options, context));
    auto imported = import_tar(program->take_output(), name, {}, context);
    if (!imported && imported.error().kind() != ErrorKind::Corrupt) program->ask_to_end();
    const auto ended = TRY(program->finish());
    // When we stopped reading, that is the cause; else the program knows best why its archive is not whole.
    if (!imported && (is_end_of_reader(ended.status) || imported.error().kind() != ErrorKind::Corrupt)) return imported;
    TRY(judge(ended));
    return imported;
}

// --- registry

struct Meaning {
    std::string_view words;
    ErrorKind kind;
    std::string_view message, hint;
};
constexpr std::array<Meaning, 14> kMeanings{{
    {"manifest unknown", ErrorKind::NotFound, "the registry has no such image", "check name and tag"},
    {"name unknown", ErrorKind::NotFound, "the registry has no such image", "check name and tag"},
    {"unauthorized", ErrorKind::Denied, "the registry wants other credentials",
     "log in with 'skopeo login', or name the file with --authfile"},
    {"authentication required", ErrorKind::Denied, "the registry wants credentials",
     "log in with 'skopeo login', or name the file with --authfile"},
    {"denied", ErrorKind::Denied, "the registry denies access, or has no such image",
     "log in with 'skopeo login', or name the file with --authfile"},
    {"server gave HTTP response to HTTPS", ErrorKind::Unavailable, "the registry has no TLS", "--plain-http"},
    {"x509", ErrorKind::Unavailable, "the registry's certificate is not trusted",
     "install its authority's certificate"},
    {"Digest did not match", ErrorKind::Corrupt, "what the registry sends is not what the manifest says",
     "try again; if that does not help, push the image again"},
    {"no such host", ErrorKind::Unavailable, "the registry's name does not resolve", "check the name and DNS"},
    {"connection refused", ErrorKind::Unavailable, "the registry does not answer", "check name and port"},
    {"timeout", ErrorKind::Unavailable, "the registry does not answer in time", "check the network"},
    {"no space left", ErrorKind::Unavailable, "the disk is full", "make room in the store's file system"},
    {"policy.json", ErrorKind::NotFound, "skopeo has no signature policy",
     "install golang-github-containers-common, or write /etc/containers/policy.json"},
    {"no image found in", ErrorKind::NotFound, "the image is not there for this architecture", "choose another one"},
}};

Error registry_error(const Program::Ended& ended, const std::string& reference)
{
    for (const Meaning& meaning : kMeanings)
        if (ended.last_words.find(meaning.words) != std::string::npos)
            return Error{meaning.kind, cat(reference, ": ", meaning.message)}.hint(std::string{meaning.hint});
    auto words = std::string_view{ended.last_words};
    if (const auto at = words.find("msg="); at != std::string_view::npos) words.remove_prefix(at + 4);
    return Error{ErrorKind::Os, cat(reference, ": skopeo says ", words)};
}

/// A directory that goes with the object.
class PassingDirectory {
public:
    explicit PassingDirectory(const Context& context)
        : parent_{context.spool}, name_{cat("image-", random_hex(16))}, path_{cat(context.spool_path, "/", name_)}
    {
    }
    PassingDirectory(const PassingDirectory&) = delete;
    PassingDirectory& operator=(const PassingDirectory&) = delete;
    ~PassingDirectory() { (void)os::remove_tree(parent_, name_).has_value(); } // the store empties tmp/ anyway
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    int parent_;
    std::string name_, path_;
};

// --- machine

std::string quoted(std::string_view word)
{
    std::string out = "'";
    for (const char c : word)
        out += c == '\'' ? std::string{"'\\''"} : std::string{c};
    return out + "'";
}

Result<std::vector<std::string>> tar_words(const std::vector<std::string>& file_systems)
{
    // ACLs come as attributes: --acls would write names of users, whatever --numeric-owner says.
    std::vector<std::string> words{"tar",
                                   "--create",
                                   "--file=-",
                                   "--format=posix",
                                   "--numeric-owner",
                                   "--one-file-system",
                                   "--sparse",
                                   "--xattrs",
                                   "--xattrs-include=*",
                                   "--anchored",
                                   "--no-wildcards-match-slash"};
    for (const auto* const below : {"proc", "sys", "dev", "run", "tmp", "var/lib/coppice"})
        words.push_back(cat("--exclude=./", below, "/*"));
    // Stores by their mark: there may be some anywhere, by any path, on other machines too.
    words.push_back(cat("--exclude-tag-under=", store::Store::kTagFile));
    words.emplace_back("--directory=/");
    if (file_systems.empty()) return fail(ErrorKind::Invalid, "no file system to capture is named");
    for (const std::string& path : file_systems) {
        if (!path.starts_with('/') || path.find('\0') != std::string::npos || path.find("/..") != std::string::npos)
            return fail(ErrorKind::Invalid, cat("'", printable(path), "' is no absolute path"));
        words.push_back(cat(".", path == "/" ? "" : path));
    }
    return words;
}

} // namespace

Result<Imported> import_registry(const std::string& reference, const RegistryOptions& options, const Context& context)
{
    TRY(check_word(reference, "._-/:@+[]", "image reference"));
    const std::string architecture = options.architecture.empty() ? machine_architecture() : options.architecture;
    const PassingDirectory layout{context};
    ProgramOptions program{
        .arguments = {"skopeo", "--override-os=linux", "--override-arch=" + architecture, "copy", "--quiet"},
        .package = "skopeo"};
    if (!options.authfile.empty()) program.arguments.push_back("--authfile=" + options.authfile);
    if (options.plain_http) program.arguments.emplace_back("--src-tls-verify=false");
    program.arguments.push_back("docker://" + reference);
    program.arguments.push_back(cat("oci:", layout.path(), ":image"));
    context.progress({.stage = "fetching the image"});
    const auto running = TRY(Program::start(program, context));
    const auto ended = TRY(running->finish());
    if (ended.status.code != 0) return fail(registry_error(ended, reference));
    const auto files = TRY(import_directory(layout.path(), context));
    return with_context(read_image(files.tree, {.reference = "image", .architecture = architecture}, context),
                        reference);
}

Result<Imported> import_suite(const std::string& distribution, const std::string& suite, const std::string& mirror,
                              const Context& context)
{
    TRY(check_word(suite, "-.", "suite"));
    if (!mirror.empty()) TRY(check_word(mirror, "._-/:@+%~", "mirror"));
    ProgramOptions program{.arguments = {"mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", suite, "-"},
                           .package = "mmdebstrap",
                           .has_output = true};
    if (!mirror.empty()) program.arguments.push_back(mirror); // else it knows the suite's own
    if (distribution != "debian" && distribution != "ubuntu")
        return fail(ErrorKind::Invalid, cat("no distribution ", printable(distribution), ": debian or ubuntu"));
    context.progress({.stage = "making the root file system"});
    return import_output(program, cat(distribution, ":", suite), context,
                         [](const Program::Ended& ended) { return check_ended(ended, "mmdebstrap"); });
}

Result<Imported> import_machine(const std::string& host, const std::vector<std::string>& file_systems,
                                const Context& context)
{
    auto words = TRY(tar_words(file_systems));
    ProgramOptions program{.arguments = {}, .package = host.empty() ? "tar" : "openssh-client", .has_output = true};
    if (host.empty()) {
        program.arguments = std::move(words);
    } else {
        TRY(check_word(host, "._-@:[]%", "host"));
        std::string command; // ssh hands it to a shell there
        for (const std::string& word : words)
            command += cat(command.empty() ? "" : " ", quoted(word));
        program.arguments = {"ssh", "-o", "BatchMode=yes", "--", "ssh://" + host, command};
    }
    const std::string name = host.empty() ? "this machine" : host;
    return import_output(program, name, context, [&](const Program::Ended& ended) -> Result<> {
        // 1: files changed while they were read, which is a running machine's way. Source: GNU tar manual, "Synopsis"
        if (ended.status.code <= 1 && !ended.status.by_signal) return {};
        if (!host.empty() && ended.status.code == 255)
            return fail(Error{ended.last_words.find("ermission denied") == std::string::npos ? ErrorKind::Unavailable
                                                                                             : ErrorKind::Denied,
                              cat("ssh ", host, ": ", ended.last_words)}
                            .hint("try 'ssh HOST true'; it must work without asking"));
        return check_ended(ended, "tar");
    });
}

} // namespace coppice::imports
