#include "coppice/base/text.h"
#include "coppice/import/remote.h"
#include "program_output.h"

namespace coppice::imports {

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

} // namespace coppice::imports
