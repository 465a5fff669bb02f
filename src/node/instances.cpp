#include "coppice/node/instances.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/instance/boot.h"
#include "coppice/instance/id_range.h"
#include "coppice/instance/leftovers.h"
#include "coppice/instance/look.h"
#include "coppice/instance/protocol.h"
#include "coppice/os/executable.h"
#include "coppice/os/file.h"
#include "coppice/os/spawn.h"
#include "coppice/os/unix_socket.h"
#include "coppice/vdisk/working_layer.h"
#include "identity.h"
#include "parts.h"

#include <algorithm>
#include <tuple>

namespace coppice::node {

using instance::InstanceConfig;
using instance::Say;

namespace {

constexpr unsigned kThreads = 4; ///< that mount, and hear what supervisors say

} // namespace

Error runs_already(const std::string& name)
{
    return Error{ErrorKind::Conflict, cat("instance ", name, " is running")}.hint(
        cat("stop it first: coppice stop ", name));
}

Instances::Instances(storage::Storage& storage, instance::InstanceStore store, std::function<void(const News&)> tell)
    : parts_{new Parts{.storage = storage, .store = std::move(store), .tell = std::move(tell)}}
{
}

Instances::~Instances()
{
    // Their threads use each other: none of the objects goes before all have ended.
    parts_->timers->stop();
    parts_->links->stop();
    parts_->schedules.reset();
    for (auto& [name, running] : parts_->running)
        running->supervisor.detach();
}

Result<std::unique_ptr<Instances>> Instances::open(storage::Storage& storage, const std::string& root,
                                                   std::function<void(const News&)> tell)
{
    auto store = TRY(instance::InstanceStore::open(root));
    std::unique_ptr<Instances> all{new Instances{storage, std::move(store), std::move(tell)}};
    all->parts_->links = TRY(LinkPool::make(kThreads));
    all->parts_->timers = std::make_unique<Timers>();
    all->keep_schedules();
    TRY(all->finish_renames());
    TRY(all->recover());
    all->parts_->schedules->begin();
    all->start_by_policy_at_boot();
    return all;
}

Result<> Instances::recover()
{
    end_halts();
    const auto uses = TRY(parts_->storage.uses());
    for (const std::string& name : TRY(parts_->store.list())) { // those that the storage does not know
        const auto config = parts_->store.read_config(name);
        if (!config || std::find(uses.begin(), uses.end(), name) != uses.end()) continue;
        if (const auto runs = parts_->store.is_running(name); !runs || !*runs) continue;
        if (const auto adopted = adopt(*config); !adopted)
            log::error("node", "an instance that runs does not answer",
                       {{"instance", name}, {"error", adopted.error().line()}});
    }
    for (const std::string& name : uses) {
        const auto config = parts_->store.read_config(name);
        if (!config && config.error().kind() != ErrorKind::NotFound) { // somebody has to mend it
            log::error("node", "an instance cannot be read", {{"instance", name}, {"error", config.error().line()}});
            parts_->storage.resume_use(name);
            continue;
        }
        const auto settle_found = [&]() -> Result<> {
            InstanceConfig gone;
            gone.name = name;
            if (!config) return settle(gone); // it was to leave nothing, or its first start or removal was cut off
            if (TRY(parts_->store.is_running(name))) {
                auto adopted = adopt(*config);
                if (adopted || parts_->store.is_running(name).value_or(true)) return adopted;
            }
            if (config->is_kept() && !TRY(has_branch(name))) return take_away(name); // its removal was cut off
            return settle(*config);
        };
        if (const auto done = settle_found(); !done)
            log::error("node", "an instance that ran could not be settled",
                       {{"instance", name}, {"error", done.error().line()}});
    }
    return {};
}

/// One that an earlier daemon started.
Result<> Instances::adopt(const InstanceConfig& config)
{
    if (!config.snapshot.empty()) parts_->storage.resume_use(config.name);
    const auto running = std::make_shared<Running>();
    running->started = Result<>{};
    // One that is just starting listens in a moment, or gives up because the daemon that it came from has gone.
    constexpr int kTries = 500, kPauseMs = 10;
    for (int left = kTries; !running->link.is_open(); --left) {
        const auto directory = parts_->store.find_directory(config.name);
        if (!directory || !TRY(parts_->store.is_running(config.name))) return settle(config);
        auto link = os::connect_in(directory->get(), instance::kControlSocket, kPauseMs);
        if (link)
            running->link = *std::move(link);
        else if (left == 0)
            return fail(std::move(link).error());
        else
            sleep_ms(kPauseMs);
    }
    TRY(say(running->link, Say::Daemon));
    running->config = TRY(parts_->store.read_config(config.name)); // as it is since it listens
    {
        const std::lock_guard lock{parts_->mutex};
        parts_->running[config.name] = running;
    }
    return parts_->links->add(running->link, [this, running] { return listen(running); });
}

/// After one whose supervisor has gone. Repeating it does no harm.
Result<> Instances::settle(const InstanceConfig& config)
{
    TRY(instance::clean_up_dead(parts_->store, config.name));
    return settle_branch(config);
}

/// What the end of an instance demands of its branch. As long as that is not done, its use has not ended.
Result<> Instances::settle_branch(const InstanceConfig& config)
{
    return parts_->storage.end_use(config.name, [&]() -> Result<> {
        const auto branch = TRY(parts_->storage.store().read(
            [&](const store::View& view) { return store::find_working(view, config.name); }));
        if (!branch) return {};
        if (!config.is_kept()) return parts_->storage.remove({config.name}, {});
        if (config.mode == instance::Mode::Shared) return parts_->storage.rollback(config.name, branch->snapshot);
        if (config.on_stop == instance::OnStop::Branch) return branch_off(config);
        return {};
    });
}

/// What was written becomes a snapshot, and the branch begins anew. However often that is repeated, it is done once for
/// each run.
Result<> Instances::branch_off(const InstanceConfig& config)
{
    const std::string started = TRY(parts_->store.read_config(config.name)).started;
    const auto key_of = [&](std::string_view step) {
        const std::string text = cat(step, ':', config.name, ':', started);
        return store::RequestKey{.key = text, .fingerprint = text};
    };
    vdisk::FreezeNote note;
    note.author = cat("instance ", config.name);
    note.message = cat("what ", config.name, " had written when it stopped");
    note.request = key_of("stop");
    const auto made = TRY(parts_->storage.snapshot(config.name, note));
    COPPICE_CHECK(made.parent); // what the branch stood on
    return parts_->storage.rollback(config.name, *made.parent, key_of("begin"));
}

/// Finds out what is to be started. @returns whether it is new: nothing is there of it yet
Result<bool> Instances::prepare(InstanceConfig& config)
{
    const std::string& name = config.name;
    const auto existing = parts_->store.read_config(name);
    if (!existing && existing.error().kind() != ErrorKind::NotFound) return fail(existing.error());
    if (existing && TRY(parts_->store.is_running(name))) return fail(runs_already(name));
    if (existing && existing->is_kept()) {
        if (existing->root != config.root || existing->snapshot.empty() != config.snapshot.empty())
            return fail(
                Error{ErrorKind::Conflict, cat("instance ", name, " exists already with the root ", existing->root)}
                    .hint(cat("choose another name, or remove it: coppice rm ", name)));
        if (existing->undecided)
            return fail(
                Error{ErrorKind::Conflict, cat("it is not decided yet what becomes of the writes of ", name)}.hint(
                    cat("coppice keep ", name, ", or coppice undo ", name)));
        config.keep_identity = existing->keep_identity;
        config.snapshot = existing->snapshot; // its own, whatever the reference stands for by now
        config.started = existing->started;   // it has writes that are worth keeping
        config.awaits_start = existing->awaits_start;
        return false;
    }
    if (existing) TRY(settle(*existing)); // what a killed run left
    config.started.clear();
    config.awaits_start = false;
    return true;
}

Result<> Instances::launch(const std::shared_ptr<Running>& running, bool detached, os::Fd client)
{
    const auto program = TRY(os::find_companion("coppice-supervisor"));
    const auto init_program = TRY(instance::find_init_program(running->config));
    auto [ours, theirs] = TRY(os::socket_pair());
    os::SpawnOptions options;
    options.arguments = {program};
    options.further = theirs.get();
    running->supervisor = TRY(os::spawn(options));
    running->link = std::move(ours);
    const instance::Launch launch{.store_root = parts_->store.root(),
                                  .detached = detached,
                                  .by_daemon = true,
                                  .by_policy = running->by_policy,
                                  .init_program = init_program,
                                  .config = running->config};
    TRY(say(running->link, Say::Launch, to_text(launch),
            client.is_open() ? std::vector<int>{client.get()} : std::vector<int>{}));
    return parts_->links->add(running->link, [this, running] { return listen(running); });
}

/// Takes the name for something that is to be done with it. What somebody else is just doing with it is waited for, and
/// one that has just ended, be it that its supervisor was killed and we have not heard of it yet.
Result<> Instances::claim(const std::string& name, const std::shared_ptr<Running>& running)
{
    constexpr std::chrono::seconds kPatience{10};
    std::unique_lock lock{parts_->mutex};
    const bool is_free = parts_->changed.wait_for(lock, kPatience, [&] {
        const auto other = parts_->running.find(name);
        return other == parts_->running.end() ||
               (!other->second->has_ended && parts_->store.is_running(name).value_or(false));
    });
    if (is_free && parts_->running.try_emplace(name, running).second) return {};
    if (parts_->store.is_running(name).value_or(true)) return fail(runs_already(name));
    return fail(Error{ErrorKind::Conflict, cat("something else is being done with instance ", name)}.hint("try again"));
}

/// Until there is a supervisor that has been told what to do. Errors leave nothing behind.
Result<> Instances::begin(const std::shared_ptr<Running>& running, bool detached, os::Fd& client)
{
    const std::string name = running->config.name;
    TRY(claim(name, running));
    const auto try_to = [&]() -> Result<> {
        const bool is_new = TRY(prepare(running->config));
        if (is_new) TRY(make_branches(running->config.snapshot, {&name, 1}));
        running->is_new = is_new; // from here on there is something to be undone
        os::Fd theirs;
        if (!detached) std::tie(client, theirs) = TRY(os::socket_pair());
        return launch(running, detached, std::move(theirs));
    };
    auto begun = try_to();
    if (begun) return {};
    running->supervisor = os::Process{}; // killed, before it could do anything
    if (running->is_new)
        if (const auto undone = settle(running->config); !undone)
            log::error("node", "a start could not be undone", {{"instance", name}, {"error", undone.error().line()}});
    forget(name);
    return begun;
}

Result<os::Fd> Instances::run(InstanceConfig config, bool detached)
{
    forget_restart(config.name);
    const auto running = std::make_shared<Running>();
    running->config = std::move(config);
    running->config.restarts = 0;
    os::Fd client;
    TRY(begin(running, detached, client));
    if (!detached) return client;
    std::unique_lock lock{parts_->mutex};
    parts_->changed.wait(lock, [&] { return running->started.has_value(); });
    if (!*running->started) return fail(running->started->error());
    return os::Fd{};
}

Result<os::Fd> Instances::start(const std::string& name, bool detached)
{
    return run(TRY(parts_->store.read_config(name)), detached);
}

std::string_view to_word(State state)
{
    switch (state) {
    case State::Created: return "created";
    case State::Running: return "running";
    case State::Paused: return "paused";
    case State::Restarting: return "restarting";
    case State::Undecided: return "undecided";
    case State::Exited: return "exited";
    case State::Stopped: return "stopped";
    }
    return {};
}

Result<State> Instances::state_of(const InstanceConfig& config) const
{
    if (TRY(parts_->store.is_running(config.name)))
        return instance::is_paused(parts_->store, config.name) ? State::Paused : State::Running;
    {
        const std::lock_guard lock{parts_->mutex};
        const auto restart = parts_->restarts.find(config.name);
        if (restart != parts_->restarts.end() && restart->second.timer != 0 && !config.stop_asked)
            return State::Restarting;
    }
    if (config.awaits_start) return State::Created;
    if (config.undecided) return State::Undecided;
    return config.exit_status ? State::Exited : State::Stopped;
}

Result<Instances::Known> Instances::find(const std::string& name) const
{
    Known known{.config = TRY(parts_->store.read_config(name))};
    known.state = TRY(state_of(known.config));
    if (known.state == State::Running || known.state == State::Paused)
        known.health = instance::read_health(parts_->store, name);
    return known;
}

Result<std::vector<Instances::Known>> Instances::list() const
{
    std::vector<Known> all;
    for (const std::string& name : TRY(parts_->store.list())) {
        auto known = find(name);
        if (known)
            all.push_back(*std::move(known));
        else if (known.error().kind() != ErrorKind::NotFound)
            log::warn("node", "an instance cannot be read", {{"instance", name}, {"error", known.error().line()}});
    }
    return all;
}

Result<bool> Instances::has_branch(const std::string& name) const
{
    return TRY(parts_->storage.store().read([&](const store::View& view) { return store::find_working(view, name); }))
        .has_value();
}

/// Repeating it does no harm.
Result<> Instances::take_away(const std::string& name)
{
    const auto held = TRY(parts_->store.hold(name));
    const auto config = parts_->store.read_config(name); // a damaged one can be removed, too
    // The branch first: a use without one tells that the instance is to be removed.
    // A damaged description does not tell: one on a path has its layer in its directory.
    const bool owns_branch =
        config ? !config->snapshot.empty() : !TRY(os::is_there(held.directory.get(), vdisk::WorkingLayer::kDirectory));
    if (owns_branch && TRY(has_branch(name))) TRY(parts_->storage.remove_for_use(name));
    return parts_->storage.end_use(name, [&] { return parts_->store.remove(held, name); });
}

Result<> Instances::remove(const std::string& name)
{
    TRY(claim(name, std::make_shared<Running>()));
    auto removed = take_away(name);
    forget(name);
    TRY(std::move(removed));
    forget_restart(name);
    parts_->tell({.what = "removed", .name = name});
    return {};
}

void Instances::forget(const std::string& name)
{
    const std::lock_guard lock{parts_->mutex};
    parts_->running.erase(name);
    parts_->changed.notify_all();
}

Result<os::Fd> Instances::mount(const Running& running, std::string_view first_id, const os::Fd& user_namespace)
{
    if (!user_namespace.is_open()) return fail(ErrorKind::Invalid, "no user namespace came");
    const auto first = TRY(parse_integer(first_id, instance::IdRange::kFirst, instance::IdRange::kLast));
    vdisk::MountUse use;
    use.set_uid = true;
    use.throw_away = running.config.mode == instance::Mode::Shared;
    use.ids = vdisk::InstanceIds{.user_namespace = &user_namespace,
                                 .mapping = instance::IdRange::mapping_of(static_cast<std::uint32_t>(first))};
    auto root = TRY(parts_->storage.use(running.config.name, use));
    TRY_DOING("identity of its own", personalise(running.config, root, static_cast<std::uint32_t>(first)));
    return root;
}

Result<> Instances::personalise(const InstanceConfig& config, const os::Fd& root, std::uint32_t root_id)
{
    if (config.keep_identity) return {};
    const IdentityWanted wanted{.host_name = instance::host_name_of(config),
                                .root_id = root_id,
                                .lasting = config.mode == instance::Mode::Private && !config.remove_at_end};
    return give_identity(root, TRY(parts_->store.find_directory(config.name)), wanted, parts_->ssh_keys);
}

Result<std::vector<std::string>> Instances::personalised(const std::string& name) const
{
    return personalised_files(TRY(parts_->store.find_directory(name)));
}

/// Hears one message of a supervisor. @returns whether there may be more
bool Instances::listen(const std::shared_ptr<Running>& running)
{
    auto heard = instance::hear(running->link);
    if (!heard || !*heard) {
        give_up(running);
        return false;
    }
    const std::string& name = running->config.name;
    switch ((*heard)->word) {
    case Say::Mount: {
        const auto root = mount(*running, (*heard)->text, (*heard)->take_fd());
        [[maybe_unused]] const auto said = root ? say(running->link, Say::Mounted, {}, {root->get()})
                                                : say(running->link, Say::Failed, encode(root.error()));
        return true; // if it has gone, we hear that next
    }
    case Say::Started:
        running->config.started = to_rfc3339(now());
        running->config.awaits_start = false;
        {
            const std::lock_guard lock{parts_->mutex};
            running->started = Result<>{};
            parts_->changed.notify_all();
        }
        if (!running->config.snapshots.empty()) parts_->schedules->look_at(name);
        parts_->tell({.what = "started", .name = name});
        return true;
    case Say::Health: parts_->tell({.what = (*heard)->text, .name = name}); return true;
    case Say::Failed: // it has undone what was its own
        running->failure = decode_error((*heard)->text);
        end(running, {});
        return true; // until it lets the name go
    case Say::Ended: end(running, instance::parse_ended((*heard)->text).value_or(instance::Ended{})); return true;
    default: return true;
    }
}

/// The supervisor has told of the end, and waits until the branch is what it is to be.
void Instances::end(const std::shared_ptr<Running>& running, const std::optional<instance::Ended>& ended)
{
    running->ended = ended;
    // What is written down counts: it may have been changed since the start.
    const auto config = parts_->store.read_config(running->config.name);
    if (const auto settled = settle_branch(config ? *config : running->config); !settled)
        log::error("node", "an instance could not be settled",
                   {{"instance", running->config.name}, {"error", settled.error().line()}});
    {
        const std::lock_guard lock{parts_->mutex};
        running->has_ended = true; // its supervisor lets the name go in a moment
    }
    [[maybe_unused]] const auto said = say(running->link, Say::Settled);
    if (ended)
        parts_->tell({.what = "ended", .name = running->config.name, .status = ended->status, .note = ended->note});
}

/// The supervisor has gone: after its instance's end, or killed.
void Instances::give_up(const std::shared_ptr<Running>& running)
{
    if (running->supervisor.pid() > 0) [[maybe_unused]]
        const auto status = running->supervisor.wait();
    const std::string name = running->config.name;
    if (!running->has_ended) {
        log::warn("node", "a supervisor was killed", {{"instance", name}});
        // What it has written down counts: it may have noted a start that it could not tell us of any more.
        const auto config = parts_->store.read_config(name);
        if (const auto settled = settle(config ? *config : running->config); !settled)
            log::error("node", "an instance could not be settled",
                       {{"instance", name}, {"error", settled.error().line()}});
        parts_->tell({.what = "ended", .name = name, .status = 255});
    }
    forget(name);
    consider_restart(*running);
    const std::lock_guard lock{parts_->mutex};
    if (!running->started)
        running->started = fail(
            running->failure.value_or(Error{ErrorKind::Gone, cat("the supervisor of instance ", name, " has died")}));
    parts_->changed.notify_all();
}

} // namespace coppice::node
