#include "coppice/node/instances.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/base/units.h"
#include "coppice/instance/boot.h"
#include "coppice/instance/id_range.h"
#include "coppice/instance/leftovers.h"
#include "coppice/instance/protocol.h"
#include "coppice/os/executable.h"
#include "coppice/os/spawn.h"
#include "coppice/os/unix_socket.h"
#include "link_pool.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>

namespace coppice::node {

using instance::InstanceConfig;
using instance::Say;

namespace {

constexpr unsigned kThreads = 4; ///< that mount, and hear what supervisors say

Error runs_already(const std::string& name)
{
    return Error{ErrorKind::Conflict, cat("instance ", name, " is running")}.hint(
        cat("stop it first: coppice stop ", name));
}

} // namespace

/// An instance from its launch to the end of its supervisor.
struct Instances::Running {
    InstanceConfig config;
    bool is_new = false;
    os::Process supervisor; ///< none for one that an earlier daemon started
    os::Fd link;
    std::optional<Result<>> started; ///< under the mutex of Parts
    bool has_ended = false;          ///< its end was told, or why it did not start:
    std::optional<Error> failure;
};

struct Instances::Parts {
    storage::Storage& storage;
    instance::InstanceStore store;
    std::function<void(const News&)> tell;
    std::mutex mutex; ///< of the next two
    std::condition_variable changed;
    std::map<std::string, std::shared_ptr<Running>> running;
    std::unique_ptr<LinkPool> links; ///< last: its threads use the others
};

Instances::Instances(storage::Storage& storage, instance::InstanceStore store, std::function<void(const News&)> tell)
    : parts_{new Parts{storage, std::move(store), std::move(tell), {}, {}, {}, {}}}
{
}

Instances::~Instances()
{
    parts_->links.reset();
    for (auto& [name, running] : parts_->running)
        running->supervisor.detach();
}

Result<std::unique_ptr<Instances>> Instances::open(storage::Storage& storage, const std::string& root,
                                                   std::function<void(const News&)> tell)
{
    auto store = TRY(instance::InstanceStore::open(root));
    std::unique_ptr<Instances> all{new Instances{storage, std::move(store), std::move(tell)}};
    all->parts_->links = TRY(LinkPool::make(kThreads));
    TRY(all->recover());
    return all;
}

Result<> Instances::recover()
{
    for (const std::string& name : TRY(parts_->storage.uses())) {
        const auto config = parts_->store.read_config(name);
        if (!config && config.error().kind() != ErrorKind::NotFound) { // somebody has to mend it
            log::error("node", "an instance cannot be read", {{"instance", name}, {"error", config.error().line()}});
            parts_->storage.resume_use(name);
            continue;
        }
        // Without a description: it was to leave nothing, or its first start was cut off.
        InstanceConfig gone;
        gone.name = name;
        gone.remove_at_end = true;
        const InstanceConfig& known = config ? *config : gone;
        const auto done = config && TRY(parts_->store.is_running(name)) ? adopt(known) : settle(known);
        if (!done)
            log::error("node", "an instance that ran could not be settled",
                       {{"instance", name}, {"error", done.error().line()}});
    }
    return {};
}

/// One that an earlier daemon started.
Result<> Instances::adopt(const InstanceConfig& config)
{
    parts_->storage.resume_use(config.name);
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

/// What the end of an instance demands of its branch.
Result<> Instances::settle_branch(const InstanceConfig& config)
{
    TRY(parts_->storage.end_use(config.name));
    const auto branch = TRY(
        parts_->storage.store().read([&](const store::View& view) { return store::find_working(view, config.name); }));
    if (!branch) return {};
    if (config.remove_at_end || config.started.empty()) return parts_->storage.remove({config.name}, {});
    if (config.mode == instance::Mode::Shared) return parts_->storage.rollback(config.name, branch->snapshot);
    return {};
}

/// Finds out what is to be started. @returns whether it is new, with a branch that was made for it
Result<bool> Instances::prepare(InstanceConfig& config)
{
    const auto existing = parts_->store.read_config(config.name);
    if (!existing && existing.error().kind() != ErrorKind::NotFound) return fail(existing.error());
    if (existing && !existing->remove_at_end && !existing->started.empty()) {
        if (TRY(parts_->store.is_running(config.name))) return fail(runs_already(config.name));
        if (existing->root != config.root || existing->snapshot.empty())
            return fail(Error{ErrorKind::Conflict,
                              cat("instance ", config.name, " exists already with the root ", existing->root)}
                            .hint(cat("choose another name, or remove it: coppice rm ", config.name)));
        config.started = existing->started;   // it has writes that are worth keeping
        config.snapshot = existing->snapshot; // its own, whatever the reference stands for by now
        return false;
    }
    if (existing) TRY(settle(*existing)); // what a killed run left
    TRY(parts_->storage.make_for_use(config.name, TRY(store::SnapshotId::parse(config.snapshot))));
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
                                  .init_program = init_program,
                                  .config = running->config};
    TRY(say(running->link, Say::Launch, to_text(launch),
            client.is_open() ? std::vector<int>{client.get()} : std::vector<int>{}));
    return parts_->links->add(running->link, [this, running] { return listen(running); });
}

Result<os::Fd> Instances::run(InstanceConfig config, bool detached)
{
    const auto running = std::make_shared<Running>();
    const std::string name = config.name;
    {
        const std::lock_guard lock{parts_->mutex};
        if (!parts_->running.try_emplace(name, running).second) return fail(runs_already(name));
    }
    os::Fd client, theirs;
    const auto begin = [&]() -> Result<> {
        running->is_new = TRY(prepare(config));
        running->config = config;
        if (!detached) std::tie(client, theirs) = TRY(os::socket_pair());
        return launch(running, detached, std::move(theirs));
    };
    if (auto begun = begin(); !begun) {
        running->supervisor = os::Process{}; // killed, before it could do anything
        if (running->is_new) {
            running->config.remove_at_end = true;
            if (const auto undone = settle(running->config); !undone)
                log::error("node", "a start could not be undone",
                           {{"instance", name}, {"error", undone.error().line()}});
        }
        forget(name);
        return fail(std::move(begun).error());
    }
    if (!detached) return client;
    std::unique_lock lock{parts_->mutex};
    parts_->changed.wait(lock, [&] { return running->started.has_value(); });
    if (!*running->started) return fail(running->started->error());
    return os::Fd{};
}

Result<Instances::Known> Instances::find(const std::string& name) const
{
    Known known{.config = TRY(parts_->store.read_config(name))};
    known.is_running = TRY(parts_->store.is_running(name));
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

Result<> Instances::remove(const std::string& name)
{
    {
        const std::lock_guard lock{parts_->mutex};
        if (parts_->running.contains(name)) return fail(runs_already(name));
    }
    const auto held = TRY(parts_->store.hold(name));
    const auto config = TRY(parts_->store.read_config(name));
    if (config.snapshot.empty()) return parts_->store.remove(held, name);
    // The branch first: without it the instance is known to be one that is to be removed.
    const auto branch =
        TRY(parts_->storage.store().read([&](const store::View& view) { return store::find_working(view, name); }));
    if (branch) TRY(parts_->storage.remove({name}, {}));
    TRY(parts_->store.remove(held, name));
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
    return parts_->storage.use(running.config.name, use);
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
        {
            const std::lock_guard lock{parts_->mutex};
            running->started = Result<>{};
            parts_->changed.notify_all();
        }
        parts_->tell({.what = "started", .name = name});
        return true;
    case Say::Failed: // it has undone what was its own
    case Say::Ended: {
        const bool failed = (*heard)->word == Say::Failed;
        if (failed) running->failure = decode_error((*heard)->text);
        if (failed && running->is_new) running->config.remove_at_end = true;
        running->has_ended = true;
        if (const auto settled = settle_branch(running->config); !settled)
            log::error("node", "an instance could not be settled",
                       {{"instance", name}, {"error", settled.error().line()}});
        [[maybe_unused]] const auto said = say(running->link, Say::Settled);
        const auto ended =
            failed ? instance::Ended{} : instance::parse_ended((*heard)->text).value_or(instance::Ended{});
        if (!failed) parts_->tell({.what = "ended", .name = name, .status = ended.status});
        return true; // until it lets the name go
    }
    default: return true;
    }
}

/// The supervisor has gone: after its instance's end, or killed.
void Instances::give_up(const std::shared_ptr<Running>& running)
{
    if (running->supervisor.pid() > 0) [[maybe_unused]]
        const auto status = running->supervisor.wait();
    const std::string name = running->config.name;
    if (!running->has_ended) {
        log::warn("node", "a supervisor was killed", {{"instance", name}});
        if (running->is_new && !running->started) running->config.remove_at_end = true;
        if (const auto settled = settle(running->config); !settled)
            log::error("node", "an instance could not be settled",
                       {{"instance", name}, {"error", settled.error().line()}});
        parts_->tell({.what = "ended", .name = name, .status = 255});
    }
    forget(name);
    const std::lock_guard lock{parts_->mutex};
    if (!running->started)
        running->started = fail(
            running->failure.value_or(Error{ErrorKind::Gone, cat("the supervisor of instance ", name, " has died")}));
    parts_->changed.notify_all();
}

} // namespace coppice::node
