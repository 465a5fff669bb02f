// Another name for an instance that has stopped: its branch, its directory and its description, or nothing.

#include "coppice/instance/rename.h"
#include "coppice/base/id.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/instance/leftovers.h"
#include "coppice/store/vdisk.h"
#include "parts.h"

#include <memory>

namespace coppice::node {

namespace {

Error is_taken(std::string_view what, const std::string& name)
{
    return Error{ErrorKind::Conflict, cat(what, ' ', name, " is there already")}.hint("choose another name");
}

} // namespace

Result<> Instances::check_free(const std::string& name) const
{
    const auto there = parts_->store.find_directory(name);
    if (there) return fail(is_taken("instance", name));
    if (there.error().kind() != ErrorKind::NotFound) return fail(there.error());
    if (TRY(has_branch(name))) return fail(is_taken("branch", name));
    const auto vdisk =
        TRY(parts_->storage.store().read([&](const store::View& view) { return store::find_vdisk(view, name); }));
    return vdisk ? Result<>{fail(is_taken("vdisk", name))} : Result<>{};
}

std::string Instances::path_of(const std::string& name) const { return cat(parts_->store.root(), "/instances/", name); }

Result<> Instances::rename(const std::string& name, const std::string& to)
{
    TRY_DOING(cat("instance name '", printable(to), "'"), check_name(to));
    if (name == to) return fail(is_taken("instance", to));
    const auto running = std::make_shared<Running>(); // nobody else does anything with the names meanwhile
    TRY(claim(name, running));
    auto renamed = claim(to, running);
    if (renamed) {
        renamed = rename_claimed(name, to);
        forget(to);
    }
    forget(name);
    TRY(std::move(renamed));
    rename_restart(name, to);
    parts_->schedules->look_at(to);
    parts_->tell({.what = "renamed", .name = to});
    return {};
}

Result<> Instances::rename_claimed(const std::string& name, const std::string& to)
{
    if (TRY(parts_->store.is_running(name))) return fail(runs_already(name));
    TRY(instance::clean_up_dead(parts_->store, name)); // what a killed run left goes by the old name
    const auto held = TRY(parts_->store.hold(name));
    const auto config = TRY(parts_->store.read_config(name));
    TRY(check_free(to));
    TRY(instance::note_rename(held.directory, to));
    auto renamed = config.snapshot.empty() ? Result<>{} : parts_->storage.rename(name, to);
    TRY(finish_rename(name)); // after a failure, too: what became of the branch decides
    return renamed;
}

/// The branch goes first: once it has the new name, the rest follows, whoever does it.
Result<> Instances::finish_rename(const std::string& name)
{
    const auto to = TRY(instance::find_rename(parts_->store, name));
    if (!to) return {};
    const bool branch_stays = name != *to && TRY(has_branch(name));
    if (branch_stays) return instance::drop_rename(parts_->store, name);
    auto done = instance::carry_out_rename(parts_->store, name, *to);
    if (!done && done.error().kind() == ErrorKind::Conflict) // somebody else has got the name
        TRY(instance::drop_rename(parts_->store, name));
    return done;
}

Result<> Instances::finish_renames()
{
    for (const std::string& name : TRY(parts_->store.list()))
        if (const auto finished = finish_rename(name); !finished)
            log::error("node", "the renaming of an instance could not be finished",
                       {{"instance", name}, {"error", finished.error().line()}});
    return {};
}

} // namespace coppice::node
