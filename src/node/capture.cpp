// Snapshots of instances, also of those that run.

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/instance/halt.h"
#include "coppice/instance/look.h"
#include "parts.h"

#include <optional>

namespace coppice::node {

namespace {

/// Halts an instance and has it go on; one that its user has paused stays as it is, and nobody else may resume it
/// meanwhile.
class Halt {
public:
    Halt(const instance::InstanceStore& store, std::string name) : store_{&store}, name_{std::move(name)} {}
    Result<> begin()
    {
        turn_.emplace(TRY(instance::take_turn(*store_, name_)));
        if (instance::is_paused(*store_, name_)) return {};
        auto halted = instance::halt(*store_, name_);
        was_needed_ = halted.has_value();
        if (!halted) turn_.reset();
        return halted;
    }
    Result<> end()
    {
        auto ended = was_needed_ ? instance::end_halt(*store_, name_) : Result<>{};
        turn_.reset();
        return ended;
    }
    [[nodiscard]] bool was_needed() const { return was_needed_; }

private:
    const instance::InstanceStore* store_;
    std::string name_;
    std::optional<os::FileLock> turn_;
    bool was_needed_ = false;
};

} // namespace

/// Of one that does not run.
Result<vdisk::Captured> Instances::freeze(const std::string& name, const vdisk::FreezeNote& note)
{
    auto made = parts_->storage.snapshot(name, note);
    if (made) return vdisk::Captured{.snapshot = *std::move(made), .cost = {}};
    const auto config = parts_->store.read_config(name);
    if (made.error().kind() != ErrorKind::NotFound || !config || !config->snapshot.empty())
        return fail(std::move(made).error());
    return fail(Error{ErrorKind::Invalid, cat("instance ", name, " is on a path: it has no snapshots")}.hint(
        "import what is there, and start it on the vdisk: coppice vdisk import"));
}

Result<vdisk::Captured> Instances::snapshot(const std::string& name, const vdisk::FreezeNote& note,
                                            const store::Watch& watch)
{
    if (!parts_->storage.is_in_use(name)) return freeze(name, note);
    Halt halt{parts_->store, name};
    auto captured = parts_->storage.capture(
        name, note, {.halt = [&] { return halt.begin(); }, .resume = [&] { return halt.end(); }}, watch);
    if (captured) {
        if (captured->cost && !halt.was_needed()) captured->cost->pause = {};
        return captured;
    }
    if (parts_->store.is_running(name).value_or(true)) return captured;
    // It has ended meanwhile: once that is settled, what it left is to be had.
    TRY(with_names({&name, 1}, [] { return Result<>{}; }));
    return freeze(name, note);
}

/// What a killed daemon has left halted.
void Instances::end_halts()
{
    const auto names = parts_->store.list();
    if (!names) return;
    for (const std::string& name : *names)
        if (const auto ended = instance::end_halt(parts_->store, name); !ended)
            log::error("node", "an instance that was halted for a snapshot does not go on",
                       {{"instance", name}, {"error", ended.error().line()}});
}

} // namespace coppice::node
