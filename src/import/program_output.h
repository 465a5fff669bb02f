#pragma once

#include "coppice/import/tree_import.h"
#include "program.h"

namespace coppice::imports {

/// A word for another program: letters, digits and `more`, never an option's first character. Errors: Invalid
Result<> check_word(std::string_view word, std::string_view more, std::string_view what);

/// A tree from the archive that a program writes (ProgramOptions::has_output). Blocks.
/// @param name  for messages. @param judge what its end means
Result<Imported> import_output(const ProgramOptions& options, const std::string& name, const Context& context,
                               const std::function<Result<>(const Program::Ended&)>& judge);

/// What a program writes (ProgramOptions::has_output), at most Limits::document_bytes, and how it has ended. Blocks.
struct Answer {
    std::string text;
    Program::Ended ended;
};
Result<Answer> answer_of(const ProgramOptions& options, const Context& context);

} // namespace coppice::imports
