#include "coppice/instance/leftovers.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/os/cgroup.h"
#include "coppice/os/file.h"
#include "coppice/runtime/container.h"
#include "coppice/vdisk/working_layer.h"

#include <algorithm>
#include <functional>
#include <set>
#include <unistd.h>

namespace coppice::instance {

namespace {

constexpr const char* kLockName = kInstanceLock;

/// A thing together with the way to remove it.
struct Finding {
    Leftover leftover;
    std::function<Result<>()> remove;
};

bool is_locked(int directory, const std::string& path)
{
    const auto held = os::FileLock::is_held(directory, path);
    return !held || *held; // in doubt it is in use
}

/// Parts of an interrupted deletion or write.
bool has_parts(const InstanceStore& store, const std::string& name)
{
    const auto files = os::list_directory(store.instances().get(), name);
    return files && std::any_of(files->begin(), files->end(), [](const std::string& file) {
               return file.starts_with(vdisk::WorkingLayer::kDiscarded) || is_interrupted_write(file);
           });
}

void find_instances(const InstanceStore& store, std::vector<Finding>& findings)
{
    if (!store.instances().is_open()) return;
    const auto names = os::list_directory(store.instances().get(), ".");
    if (!names) return;
    const auto runtime = store.runtime_root();
    for (const std::string& name : *names) {
        const std::string path = cat(store.root(), "/instances/", name);
        if (is_locked(store.instances().get(), cat(name, '/', kLockName))) continue;
        if (name.starts_with(kUnfinished)) {
            findings.push_back({{"unfinished instance", path},
                                [&store, name] { return os::remove_tree(store.instances().get(), name); }});
            continue;
        }
        const auto config = store.read_config(name);
        if (!config) continue;
        const bool left_container = runtime && runtime->find(name).has_value();
        const bool left_layer = config->mode == Mode::Shared && os::exists(store.instances().get(), name + "/layer");
        if (left_container || left_layer || has_parts(store, name) || !config->is_kept())
            findings.push_back({{"remains of a killed run of instance " + name, path},
                                [&store, name] { return clean_up_dead(store, name); }});
    }
}

void find_containers(const std::string& state_root, const std::set<std::string>& skip, std::vector<Finding>& findings)
{
    if (!os::exists(os::kCwd, state_root)) return;
    const auto root = runtime::StateRoot::open(state_root);
    if (!root) return;
    const auto names = os::list_directory(root->fd().get(), ".");
    if (!names) return;
    for (const std::string& name : *names) {
        const std::string path = cat(state_root, '/', name);
        if (is_locked(root->fd().get(), cat(name, '/', kLockName)) || skip.contains(name)) continue;
        if (name.starts_with(runtime::kUnfinished)) {
            findings.push_back({{"unfinished container", path}, [state_root, name]() -> Result<> {
                                    const auto again = TRY(runtime::StateRoot::open(state_root));
                                    return os::remove_tree(again.fd().get(), name);
                                }});
            continue;
        }
        const auto directory = root->find(name);
        const auto record =
            directory ? directory->read_state() : Result<runtime::StateRecord>{std::unexpect, directory.error()};
        if (record && !record->complete)
            findings.push_back(
                {{"remains of a killed creation of container " + name, path}, [state_root, name]() -> Result<> {
                     const auto again = TRY(runtime::StateRoot::open(state_root));
                     return runtime::remove(again, name, true);
                 }});
    }
}

/// Cgroups below /coppice of every hierarchy that no container knows.
void find_cgroups(const std::set<std::string>& known_paths, std::vector<Finding>& findings)
{
    const auto layout = os::CgroupLayout::detect();
    if (!layout) return;
    std::set<std::string> parents;
    if (!layout->v2_mount().empty()) parents.insert(layout->v2_directory("/coppice"));
    for (const auto& hierarchy : layout->v1_hierarchies())
        parents.insert(layout->v1_directory(hierarchy.options.front(), "/coppice"));
    for (const std::string& parent : parents) {
        const auto names = os::list_subdirectories(os::kCwd, parent);
        if (!names) continue;
        for (const std::string& name : *names) {
            const std::string path = cat(parent, '/', name);
            if (known_paths.contains(path)) continue;
            const os::CgroupPaths paths{.v2 = path, .v1 = {}};
            const auto pids = os::processes_in(paths);
            if (!pids || !pids->empty()) continue; // another root's, and alive
            findings.push_back({{"cgroup of nobody", path}, [paths] { return os::remove_cgroup(paths); }});
        }
    }
}

void collect_cgroups(const std::string& state_root, std::set<std::string>& paths)
{
    if (!os::exists(os::kCwd, state_root)) return;
    const auto root = runtime::StateRoot::open(state_root);
    if (!root) return;
    const auto ids = root->list();
    if (!ids) return;
    for (const std::string& id : *ids) {
        const auto directory = root->find(id);
        if (!directory) continue;
        const auto record = directory->read_state();
        if (!record) continue;
        paths.insert(record->cgroup.v2);
        for (const auto& [controller, path] : record->cgroup.v1)
            paths.insert(path);
    }
}

std::vector<Finding> look(const InstanceStore& store, const std::string& container_root)
{
    std::vector<Finding> findings;
    const std::string instance_containers = store.root() + "/runtime";
    const auto instance_names = store.list();
    find_instances(store, findings);
    find_containers(instance_containers,
                    instance_names ? std::set<std::string>{instance_names->begin(), instance_names->end()}
                                   : std::set<std::string>{},
                    findings);
    find_containers(container_root, {}, findings);
    std::set<std::string> known_cgroups;
    collect_cgroups(instance_containers, known_cgroups);
    collect_cgroups(container_root, known_cgroups);
    find_cgroups(known_cgroups, findings);
    return findings;
}

/// What is still there at a second look. Others may be starting something just now: for a moment a new cgroup has no
/// process in it, and a new lock no holder.
std::vector<Finding> find_all(const InstanceStore& store, const std::string& container_root)
{
    auto findings = look(store, container_root);
    if (findings.empty()) return findings;
    sleep_ms(500);
    std::set<std::string> still_there;
    for (const Finding& finding : look(store, container_root))
        still_there.insert(finding.leftover.where);
    std::erase_if(findings, [&](const Finding& finding) { return !still_there.contains(finding.leftover.where); });
    return findings;
}

/// Its last processes may hold the lock for a moment longer: the guard of a creation, an init about to die.
Result<> clean_up_when_free(const InstanceStore& store, const std::string& name)
{
    constexpr int kPatienceMs = 5'000, kPauseMs = 10;
    for (int waited = 0;; waited += kPauseMs) {
        const auto held = store.hold(name);
        if (held) return store.clean_up(*held, TRY(store.read_config(name)));
        if (held.error().kind() == ErrorKind::NotFound) return {};
        if (held.error().kind() != ErrorKind::Conflict || waited > kPatienceMs) return fail(held.error());
        sleep_ms(kPauseMs);
    }
}

/// What was being made or removed under another name than its own.
Result<> remove_unfinished(const InstanceStore& store, const std::string& name)
{
    const std::string prefix = unfinished_prefix(name);
    for (const std::string& entry : TRY(os::list_directory(store.instances().get(), "."))) {
        const bool ours = entry.starts_with(prefix) && entry.find('.', prefix.size()) == std::string::npos;
        if (ours && !is_locked(store.instances().get(), cat(entry, '/', kLockName)))
            TRY(os::remove_tree(store.instances().get(), entry));
    }
    return {};
}

} // namespace

Result<std::vector<Leftover>> find_leftovers(const InstanceStore& store, const std::string& container_root)
{
    std::vector<Leftover> leftovers;
    for (Finding& finding : find_all(store, container_root))
        leftovers.push_back(std::move(finding.leftover));
    return leftovers;
}

Result<> remove_leftovers(const InstanceStore& store, const std::string& container_root)
{
    Result<> outcome;
    // Twice: removing a container may leave an empty cgroup above it, which only then is one.
    for (int round = 0; round < 2; ++round)
        for (const Finding& finding : find_all(store, container_root)) {
            auto removed = finding.remove();
            if (!removed && outcome) outcome = fail(std::move(removed).error().with(finding.leftover.where));
        }
    return outcome;
}

Result<> clean_up_dead(const InstanceStore& store, const std::string& name)
{
    TRY(clean_up_when_free(store, name));
    if (os::exists(os::kCwd, store.root() + "/runtime")) TRY(TRY(store.runtime_root()).remove_unfinished_of(name));
    return remove_unfinished(store, name);
}

} // namespace coppice::instance
