#include "coppice/instance/policy.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <array>
#include <climits>
#include <utility>

namespace coppice::instance {

namespace {

using When = RestartPolicy::When;

constexpr std::array kRestarts{std::pair{When::No, std::string_view{"no"}},
                               std::pair{When::OnFailure, std::string_view{"on-failure"}},
                               std::pair{When::Always, std::string_view{"always"}},
                               std::pair{When::UnlessStopped, std::string_view{"unless-stopped"}}};

} // namespace

std::string_view to_word(Mode mode) { return mode == Mode::Private ? "private" : "shared"; }

Result<Mode> parse_mode(std::string_view word)
{
    if (word == "private") return Mode::Private;
    if (word == "shared") return Mode::Shared;
    return fail(ErrorKind::Invalid, cat("mode '", word, "' is unknown; use private or shared"));
}

std::string_view to_word(OnStop what)
{
    switch (what) {
    case OnStop::Keep: return "keep";
    case OnStop::Ask: return "ask";
    case OnStop::Branch: return "branch";
    }
    return {};
}

Result<OnStop> parse_on_stop(std::string_view word)
{
    for (const OnStop what : {OnStop::Keep, OnStop::Ask, OnStop::Branch})
        if (word == to_word(what)) return what;
    return fail(ErrorKind::Invalid, cat("'", word, "' is unknown; use keep, discard, ask or branch"));
}

Result<RestartPolicy> parse_restart(std::string_view text)
{
    RestartPolicy policy;
    const auto colon = text.find(':');
    const auto word = text.substr(0, colon);
    for (const auto& [when, name] : kRestarts) {
        if (word != name) continue;
        policy.when = when;
        if (colon == std::string_view::npos) return policy;
        if (when != When::OnFailure) break;
        policy.most = static_cast<int>(TRY_DOING(text, parse_integer(text.substr(colon + 1), 1, INT_MAX)));
        return policy;
    }
    return fail(ErrorKind::Invalid,
                cat("restart policy '", text, "' is unknown; use no, on-failure[:NUMBER], always or unless-stopped"));
}

std::string to_text(const RestartPolicy& policy)
{
    for (const auto& [when, name] : kRestarts)
        if (when == policy.when) return policy.most > 0 ? cat(name, ':', policy.most) : std::string{name};
    return {};
}

} // namespace coppice::instance
