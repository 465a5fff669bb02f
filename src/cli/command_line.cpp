#include "command.h"
#include "coppice/base/text.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string_view>
#include <unistd.h>

namespace coppice::cli {

namespace {

bool takes_value(const CLI::App& app, const std::string& name)
{
    const CLI::Option* const option = app.get_option_no_throw(name);
    return option != nullptr && option->get_items_expected_max() > 0;
}

/// Whether the value of the option `word` is the next word.
bool wants_next_word(const CLI::App& app, std::string_view word)
{
    if (word.starts_with("--")) return word.find('=') == std::string_view::npos && takes_value(app, std::string{word});
    for (std::size_t i = 1; i < word.size(); ++i) // "-it", "-eNAME=value": the first that takes a value takes the rest
        if (takes_value(app, std::string{'-', word[i]})) return i + 1 == word.size();
    return false;
}

/// Index of the first word from `index` on that is neither an option nor an option's value.
int first_plain_word(const CLI::App& app, int index, int argc, char** argv)
{
    for (; index < argc; ++index) {
        const std::string_view word = argv[index];
        if (word.size() < 2 || word.front() != '-' || word == "--") break;
        if (wants_next_word(app, word)) ++index;
    }
    return index;
}

} // namespace

Result<std::vector<std::string>> environment_entries(const std::vector<std::string>& texts)
{
    std::vector<std::string> entries;
    for (const std::string& text : texts) {
        const auto equals = text.find('=');
        if (equals == 0 || text.empty()) return fail(ErrorKind::Invalid, cat("-e '", text, "': no variable name"));
        const char* const value = equals == std::string::npos ? ::getenv(text.c_str()) : nullptr;
        if (equals != std::string::npos) entries.push_back(text);
        if (value != nullptr) entries.push_back(cat(text, '=', value));
    }
    return entries;
}

Result<> need_root(std::string_view doing)
{
    if (::geteuid() == 0) return {};
    return fail(
        Error{ErrorKind::Denied, cat(doing, " needs root rights")}.hint("run it as root, for example with sudo"));
}

const char* command_word(const CLI::App& app, int argc, char** argv)
{
    const int index = first_plain_word(app, 1, argc, argv);
    return index < argc ? argv[index] : nullptr;
}

std::string not_empty(const std::string& value) { return value.empty() ? "the value is empty" : ""; }

int own_words(const CLI::App& app, int argc, char** argv)
{
    const int command = first_plain_word(app, 1, argc, argv);
    if (command >= argc) return argc;
    const std::string_view name = argv[command];
    if (name != "run" && name != "create" && name != "exec") return argc;
    const int root = first_plain_word(*app.get_subcommand(std::string{name}), command + 1, argc, argv);
    return root < argc && std::string_view{argv[root]} != "--" ? root + 1 : std::min(root, argc);
}

} // namespace coppice::cli
