#pragma once

#include "command.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <type_traits>

namespace coppice::cli {

/// A command that was declared; both live as long as the tree of commands.
template <typename Options> struct Declared {
    CLI::App& app;
    Options& options;
};

/// Declares the command `name` below `parent`; when the user chose it, `chosen` runs `run` with what the command line
/// made of the options.
/// @param complaint for what no check of a single option sees: what is wrong, empty when nothing is. May be nullptr
template <typename Options>
Declared<Options> declare(CLI::App& parent, const char* name, const char* text, Command& chosen,
                          std::type_identity_t<Result<int> (*)(const Options&, const GlobalOptions&)> run,
                          std::type_identity_t<std::string (*)(const Options&)> complaint = nullptr)
{
    auto options = std::make_shared<Options>();
    CLI::App* const app = parent.add_subcommand(name, text);
    app->callback([options, run, complaint, &chosen] {
        if (complaint != nullptr)
            if (const std::string wrong = complaint(*options); !wrong.empty()) throw CLI::ValidationError(wrong);
        chosen = [options, run](const GlobalOptions& global) { return run(*options, global); };
    });
    return {*app, *options};
}

/// One of the words "a|b|c", which are shown, checked and completed.
inline CLI::Option* take_word(CLI::Option* option, const std::string& words)
{
    return option->type_name(words)->check(
        CLI::Validator{[words](std::string& word) {
                           const bool known = !word.empty() && word.find('|') == std::string::npos &&
                                              ('|' + words + '|').find('|' + word + '|') != std::string::npos;
                           return known ? std::string{} : "'" + word + "' is none of " + words;
                       },
                       ""});
}

/// --format of what is one thing and no list.
inline void take_format(CLI::App& app, std::string& format)
{
    take_word(app.add_option("--format", format, "Form of the result (default: text)"), "text|json");
}

} // namespace coppice::cli
