#include "coppice/storage/reference.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/store/origin.h"

#include <algorithm>

namespace coppice::storage {

namespace {

constexpr std::size_t kLeastDigits = 4;

bool is_hex(std::string_view text)
{
    return text.size() >= kLeastDigits && std::all_of(text.begin(), text.end(), [](char c) {
               return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
           });
}

Error unknown(std::string_view text)
{
    return Error{ErrorKind::NotFound, cat("there is no vdisk, branch or snapshot '", printable(text), "'")}.hint(
        "see: coppice vdisk ls, coppice branch, coppice log");
}

Result<Reference> of_version(const store::View& view, store::Version version)
{
    Reference found{.snapshot = TRY(store::get_snapshot(view, version.snapshot)), .version = {}, .branch = {}};
    found.version = version;
    return found;
}

Result<Reference> default_of(const store::View& view, const store::Vdisk& vdisk)
{
    auto version = TRY(store::default_version(view, vdisk.id, store::now()));
    if (version) return of_version(view, *version);
    return fail(Error{ErrorKind::NotFound, cat("vdisk ", vdisk.name, " has no version in production")}.hint(
        cat("name one, such as ", vdisk.name, ":1, or promote one; see: coppice vdisk versions ", vdisk.name)));
}

/// A number or a state, behind the colon.
Result<Reference> version_of(const store::View& view, const store::Vdisk& vdisk, std::string_view which)
{
    for (const auto state :
         {store::VersionState::Maintenance, store::VersionState::Test, store::VersionState::Production}) {
        if (which != store::to_text(state)) continue;
        const auto all = TRY(store::versions(view, vdisk.id));
        const auto newest =
            std::find_if(all.rbegin(), all.rend(), [&](const store::Version& one) { return one.state == state; });
        if (newest != all.rend()) return of_version(view, *newest);
        return fail(Error{ErrorKind::NotFound, cat("vdisk ", vdisk.name, " has no version in ", which)}.hint(
            cat("see: coppice vdisk versions ", vdisk.name)));
    }
    const auto number = parse_integer(which, 1, INT64_MAX);
    if (!number)
        return fail(ErrorKind::Invalid,
                    cat("'", printable(which), "' is no version: a number, maintenance, test or production is one"));
    auto version = TRY(store::get_version(view, vdisk.id, static_cast<std::uint64_t>(*number)));
    return of_version(view, version);
}

/// What a name stands for, before its colon or at sign.
struct Named {
    std::optional<store::Vdisk> vdisk;
    std::optional<store::Working> branch;
};
Result<Named> find_name(const store::View& view, const std::string& name)
{
    Named named;
    named.vdisk = TRY(store::find_vdisk(view, name));
    if (!named.vdisk) named.branch = TRY(store::find_working(view, name));
    return named;
}

/// Tags belong to the vdisk: one of the same name may be another instance's.
Result<> check_is_of(const store::View& view, const store::Working& branch, const store::Tag& tag)
{
    const auto history = TRY(store::history_of(view, branch.name));
    if (std::any_of(history.begin(), history.end(), [&](const auto& one) { return one.id == tag.snapshot; })) return {};
    return fail(Error{ErrorKind::Conflict,
                      cat("tag ", tag.name, " is not of ", branch.name, ": it names snapshot ", tag.snapshot.hex())}
                    .hint(cat("if that is meant: @", tag.snapshot.hex())));
}

Result<Reference> tagged(const store::View& view, std::string_view name, std::string_view tag)
{
    const auto named = TRY(find_name(view, std::string{name}));
    if (!named.vdisk && !named.branch) return fail(unknown(name));
    const auto vdisk = named.vdisk ? named.vdisk->id : TRY(store::get_snapshot(view, named.branch->snapshot)).vdisk;
    for (const store::Tag& one : TRY(store::tags(view, vdisk))) {
        if (one.name != tag) continue;
        if (named.branch) TRY(check_is_of(view, *named.branch, one));
        Reference found;
        found.snapshot = TRY(store::get_snapshot(view, one.snapshot));
        return found;
    }
    if (const auto by_id = store::find_by_prefix(view, tag); by_id && by_id->vdisk == vdisk) {
        Reference found;
        found.snapshot = *by_id;
        return found;
    }
    const auto owner = TRY(store::get_vdisk(view, vdisk));
    return fail(Error{ErrorKind::NotFound, cat("vdisk ", owner.name, " has no tag '", printable(tag), "'")}.hint(
        cat("see: coppice tag ", owner.name)));
}

/// The newest one that was there so long ago: of those taken of a branch and those below it, or of a vdisk.
Result<Reference> as_of(const store::View& view, std::string_view name, std::string_view age)
{
    const auto named = TRY(find_name(view, std::string{name}));
    if (!named.vdisk && !named.branch) return fail(unknown(name));
    const auto milliseconds = TRY_DOING(cat(printable(name), "@-", printable(age)), parse_duration_ms(age));
    const store::Time then{nanoseconds(store::now()) - milliseconds * 1'000'000};
    auto candidates =
        TRY(named.vdisk ? store::log(view, named.vdisk->id) : store::history_of(view, named.branch->name));
    std::erase_if(candidates, [&](const store::Snapshot& one) { return one.created > then; });
    if (candidates.empty())
        return fail(
            Error{ErrorKind::NotFound, cat("no snapshot of ", printable(name), " is as old as ", printable(age))}.hint(
                cat("see: coppice log ", printable(name))));
    Reference found;
    found.snapshot = *std::max_element(candidates.begin(), candidates.end(),
                                       [](const auto& a, const auto& b) { return a.created < b.created; });
    return found;
}

} // namespace

Result<Reference> resolve(const store::View& view, std::string_view text)
{
    if (const auto at = text.find('@'); at != std::string_view::npos) {
        const auto name = text.substr(0, at), which = text.substr(at + 1);
        if (at > 0) return which.starts_with('-') ? as_of(view, name, which.substr(1)) : tagged(view, name, which);
        Reference found;
        found.snapshot = TRY(store::find_by_prefix(view, text.substr(1)));
        return found;
    }
    const auto colon = text.find(':');
    const auto named = TRY(find_name(view, std::string{text.substr(0, colon)}));
    if (colon != std::string_view::npos) {
        if (named.vdisk) return version_of(view, *named.vdisk, text.substr(colon + 1));
        return fail(Error{ErrorKind::NotFound, cat("there is no vdisk '", printable(text.substr(0, colon)), "'")}.hint(
            "see: coppice vdisk ls"));
    }
    if (named.vdisk) return default_of(view, *named.vdisk);
    Reference found;
    if (named.branch) {
        found.snapshot = TRY(store::get_snapshot(view, named.branch->snapshot));
        found.branch = named.branch->name;
        return found;
    }
    if (!is_hex(text)) return fail(unknown(text));
    found.snapshot = TRY(store::find_by_prefix(view, text));
    return found;
}

} // namespace coppice::storage
