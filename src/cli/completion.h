#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI { // NOLINT(readability-identifier-naming): the library's own
class App;
}

namespace coppice::cli {

/// What may stand where the cursor is.
struct Completion {
    struct Candidate {
        std::string text, help;
    };
    enum class Files : unsigned char { None, Any, Directories };
    std::vector<Candidate> candidates;
    Files files = Files::None; ///< whether names of files may stand there, too
};

/// Names of things for an operand: "NAME" (instances), "OPERATION", "VDISK"; none for what it does not know.
/// @param command for example "stop"
using NameLookup = std::function<std::vector<std::string>(std::string_view type, std::string_view command)>;

/// Completes from the tree of commands alone: what an option or operand takes follows from its type name, "a|b" being
/// words, DIR and PATH and ROOT and SOURCE files, all else what `lookup` knows.
/// @param words of the line without the program, the last one being typed (it may be empty)
Completion complete(const CLI::App& app, const std::vector<std::string>& words, const NameLookup& lookup);

/// `coppice __complete WORDS`, which the shells' scripts call: prints what `complete` says, one candidate a line (a tab
/// before its help), then a line ":none", ":files" or ":directories". Always 0: a shell that completes shows no errors.
int print_completion(const CLI::App& app, const std::vector<std::string>& words);
inline constexpr std::string_view kCompleteWord = "__complete";

} // namespace coppice::cli
