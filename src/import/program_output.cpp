#include "program_output.h"

#include "byte_stream.h"
#include "coppice/base/text.h"

#include <csignal>

namespace coppice::imports {

namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

bool is_end_of_reader(const os::ExitStatus& status)
{
    return (status.by_signal && status.code == 128 + SIGPIPE) || status.code == 128 + SIGPIPE;
}

} // namespace

Result<> check_word(std::string_view word, std::string_view more, std::string_view what)
{
    const std::string allowed = cat(kLetters, more);
    if (word.empty() || word.size() > 512 || word.front() == '-' ||
        word.find_first_not_of(allowed) != std::string_view::npos)
        return fail(ErrorKind::Invalid, cat("'", printable(word), "' is no ", what));
    return {};
}

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

Result<Answer> answer_of(const ProgramOptions& options, const Context& context)
{
    const auto program = TRY(Program::start(options, context));
    auto text = [&] {
        FileStream stream{program->take_output(), options.arguments.front(), context.stop};
        return read_rest(stream, context.limits.document_bytes, cat("what ", options.arguments.front(), " says"));
    }();
    if (!text) program->ask_to_end();
    auto ended = TRY(program->finish());
    return Answer{TRY(std::move(text)), std::move(ended)};
}

} // namespace coppice::imports
