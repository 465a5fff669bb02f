#include "coppice/base/text.h"
#include "coppice/import/remote.h"
#include "coppice/store/store.h"
#include "program_output.h"

namespace coppice::imports {

namespace {

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
