#include "undecided.h"

#include "coppice/base/text.h"
#include "daemon_link.h"
#include "diff_text.h"
#include "instances.h"
#include "work.h"

#include <array>
#include <cstdio>
#include <cstring>
#include <memory>
#include <unistd.h>

namespace coppice::cli {

namespace {

/// What it has written, as far as that is known: of a directory or image it is not.
void show_writes(const api::Client& client, const std::string& name)
{
    constexpr int kMost = 50;
    const auto answer = ask(client, cat("/v1/diff?from=", api::encode_segment(name), "&limit=", kMost));
    const auto diff = answer ? parse_changes(*answer) : Result<FileChanges>{fail(answer.error())};
    if (!diff) return;
    std::fputs(change_lines(*diff, Paint{false}).c_str(), stderr);
    if (diff->truncated) std::fputs("...\n", stderr);
    std::fprintf(stderr, "%s\n", diff_summary(*diff).c_str());
}

/// "keep", "undo", or empty for later. Nobody's answer is taken for a yes or a no.
std::string read_answer(std::FILE* terminal, const std::string& name)
{
    for (std::array<char, 64> buffer{};;) {
        std::fprintf(stderr, "coppice: keep what %s has written? [y]es, [n]o: undo it, [l]ater: ", name.c_str());
        if (std::fgets(buffer.data(), buffer.size(), terminal) == nullptr) return {};
        const std::string_view line{buffer.data(), std::strcspn(buffer.data(), "\n")};
        if (line == "y" || line == "yes") return "keep";
        if (line == "n" || line == "no") return "undo";
        if (line == "l" || line == "later") return {};
    }
}

} // namespace

Result<> ask_if_undecided(const std::string& name, const GlobalOptions& global)
{
    const auto store = TRY(instance::InstanceStore::look(global.root));
    const auto config = store.read_config(name);
    if (!config || !config->undecided) return {};
    std::string answer;
    // Standard input may have been the instance's.
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> terminal{std::fopen("/dev/tty", "re"), std::fclose};
    if (terminal != nullptr && ::isatty(STDERR_FILENO) == 1) {
        const auto client = TRY(reach_daemon(global));
        show_writes(client, name);
        answer = read_answer(terminal.get(), name);
    }
    if (answer.empty()) {
        std::fprintf(stderr, "coppice: %s does not start again before: coppice keep %s, or coppice undo %s\n",
                     name.c_str(), name.c_str(), name.c_str());
        return {};
    }
    TRY(TRY(reach_daemon(global)).call({.method = "POST", .target = instance_target(name, cat('/', answer))}));
    return {};
}

} // namespace coppice::cli
