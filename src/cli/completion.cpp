#include "completion.h"

#include "command.h"
#include "completion_names.h"
#include "completion_scripts.h"
#include "coppice/base/text.h"
#include "coppice/os/capability.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>

namespace coppice::cli {

namespace {

std::vector<const CLI::App*> commands_of(const CLI::App& app)
{
    return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

const CLI::App* find_command(const CLI::App& app, std::string_view name)
{
    for (const CLI::App* const command : commands_of(app))
        if (command->get_name() == name) return command;
    return nullptr;
}

std::vector<const CLI::Option*> options_of(const CLI::App& app, bool positional)
{
    return app.get_options([positional](const CLI::Option* option) { return option->get_positional() == positional; });
}

const CLI::Option* find_option(const CLI::App& app, std::string_view word)
{
    return app.get_option_no_throw(std::string{word});
}

bool takes_value(const CLI::Option* option) { return option != nullptr && option->get_items_expected_max() > 0; }

/// An option whose value is the next word, or nullptr.
const CLI::Option* awaits_value(const CLI::App& app, std::string_view word)
{
    if (word.size() < 2 || word.front() != '-') return nullptr;
    if (word.starts_with("--")) {
        const auto* const option = word.find('=') == std::string_view::npos ? find_option(app, word) : nullptr;
        return takes_value(option) ? option : nullptr;
    }
    for (std::size_t i = 1; i < word.size(); ++i) // "-it": the first that takes a value takes the rest
        if (const auto* const option = find_option(app, std::string{'-', word[i]}); takes_value(option))
            return i + 1 == word.size() ? option : nullptr;
    return nullptr;
}

void add_values(Completion& completion, const std::string& type, std::string_view command, std::string_view prefix,
                std::string_view typed, const NameLookup& lookup)
{
    std::vector<std::string> words;
    if (type == "DIR") {
        completion.files = Completion::Files::Directories;
    } else if (type == "PATH" || type == "ROOT" || type == "DEVICE" || type == "SOURCE" ||
               type.starts_with("SOURCE:")) {
        completion.files = Completion::Files::Any;
    } else if (type == "SIGNAL") {
        words = {"TERM", "INT", "QUIT", "HUP", "KILL", "USR1", "USR2"};
    } else if (type == "CAPABILITY") {
        words = os::all_capability_names();
        for (std::string& word : words)
            word.erase(0, std::string_view{"CAP_"}.size());
        words.emplace_back("ALL");
    } else if (type.find('|') == std::string::npos) {
        words = lookup(type, command);
    } else {
        for (std::string_view rest{type}; !rest.empty();) {
            words.emplace_back(rest.substr(0, rest.find('|')));
            rest.remove_prefix(std::min(words.back().size() + 1, rest.size()));
        }
    }
    for (const std::string& word : words)
        if (word.starts_with(typed)) completion.candidates.push_back({cat(prefix, word), ""});
}

void add_options(Completion& completion, const CLI::App& app, std::string_view typed)
{
    const auto add = [&](const std::string& name, const std::string& help) {
        if (name.starts_with(typed)) completion.candidates.push_back({name, help});
    };
    for (const CLI::Option* const option : options_of(app, false)) {
        for (const std::string& name : option->get_snames())
            add(cat('-', name), option->get_description());
        for (const std::string& name : option->get_lnames())
            add(cat("--", name), option->get_description());
    }
}

/// The global options that decide where names are looked for.
GlobalOptions global_of(const std::vector<std::string>& words)
{
    GlobalOptions global;
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
        if (words[i] == "--root") global.root = words[i + 1];
        if (words[i] == "--socket") global.socket = words[i + 1];
        if (words[i].starts_with("--root=")) global.root = words[i].substr(7);
    }
    return global;
}

} // namespace

Completion complete(const CLI::App& app, const std::vector<std::string>& words, const NameLookup& lookup)
{
    Completion completion;
    if (words.empty()) return completion;
    const std::string& typed = words.back();
    const CLI::App* at = &app;
    std::size_t operands = 0;
    bool options_ended = false;
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
        const std::string& word = words[i];
        if (word == "--") {
            options_ended = true;
        } else if (!options_ended && word.size() > 1 && word.front() == '-') {
            const auto* const option = awaits_value(*at, word);
            if (option == nullptr) continue;
            if (i + 2 == words.size()) {
                add_values(completion, option->get_type_name(), at->get_name(), "", typed, lookup);
                return completion;
            }
            ++i;
        } else if (const auto* const command = operands == 0 ? find_command(*at, word) : nullptr) {
            at = command;
        } else {
            ++operands;
        }
    }
    // Behind ROOT or NAME of these stands a command for the inside, which nobody here knows.
    const bool is_inside = (at->get_name() == "run" || at->get_name() == "exec") && operands > 0;
    if (is_inside) return completion;
    const auto equals = typed.find('=');
    if (!options_ended && typed.starts_with("--") && equals != std::string::npos) {
        if (const auto* const option = find_option(*at, typed.substr(0, equals)); takes_value(option))
            add_values(completion, option->get_type_name(), at->get_name(), typed.substr(0, equals + 1),
                       std::string_view{typed}.substr(equals + 1), lookup);
        return completion;
    }
    if (!options_ended && typed.starts_with('-')) {
        add_options(completion, *at, typed);
        return completion;
    }
    for (const CLI::App* const command : commands_of(*at))
        if (command->get_name().starts_with(typed))
            completion.candidates.push_back({command->get_name(), command->get_description()});
    const auto takes = options_of(*at, true);
    if (takes.empty()) return completion;
    const auto* const operand = takes[std::min(operands, takes.size() - 1)];
    if (operands < takes.size() || operand->get_items_expected_max() > 1)
        add_values(completion, operand->get_type_name(), at->get_name(), "", typed, lookup);
    return completion;
}

int print_completion(const CLI::App& app, const std::vector<std::string>& words)
{
    const auto global = global_of(words);
    const auto completion = complete(app, words, [&](std::string_view type, std::string_view command) {
        return known_names(type, command, global);
    });
    for (const auto& [text, help] : completion.candidates)
        std::printf("%s\t%s\n", text.c_str(), help.c_str());
    using enum Completion::Files;
    std::puts(completion.files == None ? ":none" : completion.files == Any ? ":files" : ":directories");
    return 0;
}

void add_completion(CLI::App& app, Command& chosen)
{
    auto shell = std::make_shared<std::string>();
    CLI::App* const command =
        app.add_subcommand("completion", "Print the script that completes our command line in a shell");
    command->add_option("shell", *shell, "bash, zsh or fish")
        ->type_name("bash|zsh|fish")
        ->required()
        ->check(CLI::IsMember({"bash", "zsh", "fish"}));
    command->footer("Example: source <(coppice completion bash)");
    command->callback([shell, &chosen] {
        chosen = [shell](const GlobalOptions&) -> Result<int> {
            std::fputs(*shell == "bash" ? kBashScript : *shell == "zsh" ? kZshScript : kFishScript, stdout);
            return 0;
        };
    });
}

} // namespace coppice::cli
