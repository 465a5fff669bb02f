#include "coppice/instance/store.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/instance/health.h"
#include "coppice/instance/protocol.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/runtime/container.h"
#include "coppice/vdisk/working_layer.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <unistd.h>

namespace coppice::instance {

namespace {

constexpr const char* kLock = kInstanceLock;
constexpr const char* kConfig = "instance.json";

Error already_there(const std::string& name)
{
    return Error{ErrorKind::Conflict, cat("instance ", name, " exists already")}.hint(
        cat("choose another name, or remove it: coppice rm ", name));
}

/// A name that nobody else uses, from which the instance can be told.
std::string unfinished_name(const std::string& instance) { return cat(unfinished_prefix(instance), random_hex(16)); }

constexpr const char* kRootHint = "run as root, or choose another with --root";

Result<std::string> absolute_path(const std::string& path)
{
    if (path.starts_with('/')) return path;
    std::string here(PATH_MAX, '\0');
    if (::getcwd(here.data(), here.size()) == nullptr) return fail_os(errno, "find the working directory");
    here.resize(here.find('\0'));
    return cat(here, '/', path);
}

} // namespace

Result<InstanceStore> InstanceStore::open(const std::string& root)
{
    const std::string absolute = TRY(absolute_path(root)); // a supervisor may have another working directory
    const std::string path = absolute + "/instances";
    const auto make = [&]() -> Result<os::Fd> {
        TRY(os::make_directories(absolute, 0711));
        TRY(os::make_directories(path, 0700));
        return os::open_at(os::kCwd, path, O_RDONLY | O_DIRECTORY);
    };
    auto directory = make();
    if (!directory) return fail(std::move(directory).error().with("state directory").hint(kRootHint));
    return InstanceStore{absolute, *std::move(directory)};
}

Result<InstanceStore> InstanceStore::look(const std::string& root)
{
    const std::string absolute = TRY(absolute_path(root));
    auto directory = os::open_at(os::kCwd, absolute + "/instances", O_RDONLY | O_DIRECTORY);
    if (directory) return InstanceStore{absolute, *std::move(directory)};
    if (directory.error().kind() == ErrorKind::NotFound) return InstanceStore{absolute, os::Fd{}};
    return fail(std::move(directory).error().with("state directory").hint(kRootHint));
}

std::string InstanceStore::cgroup_of(const std::string& name) const
{
    if (root_ == kDefaultRoot) return cat("/coppice/", name);
    return cat("/coppice/", name, '@', hash_of(root_));
}

Result<InstanceStore::Held> InstanceStore::make(const InstanceConfig& config) const
{
    TRY(check_name(config.name));
    // Under another name first, so that nobody ever sees half an instance.
    const std::string temporary = unfinished_name(config.name);
    const auto fill = [&]() -> Result<Held> {
        TRY(os::make_directory(instances_.get(), temporary, 0700));
        auto directory = TRY(os::open_at(instances_.get(), temporary, O_RDONLY | O_DIRECTORY));
        auto lock = TRY(os::FileLock::take(directory.get(), kLock));
        TRY(write_config(directory, config));
        if (::renameat2(instances_.get(), temporary.c_str(), instances_.get(), config.name.c_str(), RENAME_NOREPLACE) ==
            0)
            return Held{std::move(directory), std::move(lock)};
        if (errno == EEXIST) return fail(already_there(config.name));
        return fail_os(errno, config.name);
    };
    auto held = fill();
    // The clean-up after a killed run of the same name may take our directory before it is locked.
    if (!held && held.error().kind() == ErrorKind::NotFound) held = fill();
    if (held) return held;
    [[maybe_unused]] const auto removed =
        os::remove_tree(instances_.get(), temporary); // the first error is the one to tell
    if (held.error().kind() == ErrorKind::Conflict) return held;
    return fail(std::move(held).error().with(cat("create instance ", config.name, " in ", root_)));
}

Result<> InstanceStore::sync() const { return os::sync_directory(instances_.get(), root_ + "/instances"); }

Result<os::Fd> InstanceStore::find_directory(const std::string& name) const
{
    TRY_DOING(cat("instance name '", name, "'"), check_name(name));
    const auto missing = [&] {
        return fail(Error{ErrorKind::NotFound, cat("instance ", name, " does not exist")}.hint("see: coppice ps -a"));
    };
    if (!instances_.is_open()) return missing();
    auto directory = os::open_at(instances_.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!directory && directory.error().kind() == ErrorKind::NotFound) return missing();
    return directory;
}

Result<InstanceStore::Held> InstanceStore::hold(const std::string& name) const
{
    for (;;) {
        auto directory = TRY(find_directory(name));
        auto lock = TRY(os::FileLock::try_take(directory.get(), kLock));
        if (!lock)
            return fail(Error{ErrorKind::Conflict, cat("instance ", name, " is running")}.hint(
                cat("stop it first: coppice stop ", name)));
        struct stat ours{};
        if (::fstat(directory.get(), &ours) < 0) return fail_os(errno, cat("instance ", name));
        const auto named = TRY(os::find_status(instances_.get(), name, false));
        if (named && named->st_ino == ours.st_ino && named->st_dev == ours.st_dev)
            return Held{std::move(directory), *std::move(lock)};
        // Removed meanwhile, and perhaps made anew: what we hold is not what the name means. Look again.
    }
}

Result<InstanceConfig> InstanceStore::read_config_in(const os::Fd& directory)
{
    return parse_instance_config(TRY(os::read_file(directory.get(), kConfig, 4U << 20)));
}

Result<InstanceConfig> InstanceStore::read_config(const std::string& name) const
{
    const auto directory = TRY(find_directory(name));
    const auto read = [&]() -> Result<InstanceConfig> {
        auto config = TRY(read_config_in(directory));
        // Everything else goes by the name in it: a copied directory must not stand for the original.
        if (config.name != name) return fail(ErrorKind::Corrupt, cat("is of instance ", config.name));
        return config;
    };
    auto config = read();
    if (config) return config;
    return fail(std::move(config)
                    .error()
                    .with(cat("instance ", name, ": ", kConfig))
                    .hint(cat("mend ", root_, "/instances/", name, '/', kConfig,
                              ", or remove the instance: coppice rm ", name)));
}

Result<InstanceConfig> InstanceStore::change(const std::string& name,
                                             const std::function<Result<>(InstanceConfig&)>& edit) const
{
    const auto directory = TRY(find_directory(name));
    const auto turn = TRY(os::FileLock::take(directory.get(), kEditLock));
    auto config = TRY(read_config(name));
    const InstanceConfig before = config;
    TRY(edit(config));
    if (config != before) TRY(write_config(directory, config));
    return config;
}

Result<> InstanceStore::write_config(const os::Fd& directory, const InstanceConfig& config)
{
    const bool lasting = config.mode == Mode::Private && !config.remove_at_end;
    return os::replace_file(directory.get(), kConfig, to_json(config), 0600, lasting);
}

Result<bool> InstanceStore::is_running(const std::string& name) const
{
    const auto directory = TRY(find_directory(name));
    return os::FileLock::is_held(directory.get(), kLock);
}

Result<std::vector<std::string>> InstanceStore::list() const
{
    if (!instances_.is_open()) return std::vector<std::string>{};
    auto names = TRY(os::list_directory(instances_.get(), "."));
    std::erase_if(names, [](const std::string& name) { return !check_name(name).has_value(); });
    std::sort(names.begin(), names.end());
    return names;
}

Result<> InstanceStore::remove_container(const std::string& name) const
{
    if (!os::exists(os::kCwd, root_ + "/runtime")) return {}; // makes nothing: it must work on a full disk
    const auto runtime = TRY(runtime_root());
    return runtime::remove(runtime, name, true);
}

Result<> InstanceStore::clean_up(const Held& held, const InstanceConfig& config) const
{
    TRY(remove_container(config.name));
    if (!config.is_kept()) return remove(held, config.name);
    if (config.mode == Mode::Shared) TRY(vdisk::WorkingLayer::discard(held.directory.get()));
    TRY(vdisk::WorkingLayer::sweep(held.directory.get()));
    for (const char* const file : {kControlSocket, kHealthFile})
        TRY(os::remove_file(held.directory.get(), file));
    const auto turn = TRY(os::FileLock::take(held.directory.get(), kEditLock)); // whoever writes now is not interrupted
    for (const std::string& name : TRY(os::list_directory(held.directory.get(), ".")))
        if (is_interrupted_write(name)) TRY(os::remove_file(held.directory.get(), name));
    return {};
}

Result<> InstanceStore::remove(const Held& held, const std::string& name) const
{
    TRY(remove_container(name));
    // The name is free at once; an interrupted deletion leaves nothing that looks like an instance.
    const std::string doomed = unfinished_name(name);
    if (::renameat(instances_.get(), name.c_str(), instances_.get(), doomed.c_str()) < 0)
        return fail_os(errno, cat("remove instance ", name));
    // The lock goes last: as long as it is held, nobody takes this for a leftover.
    for (const std::string& entry : TRY(os::list_directory(held.directory.get(), ".")))
        if (entry != kLock) TRY_DOING(cat("remove instance ", name), os::remove_tree(held.directory.get(), entry));
    return with_context(os::remove_tree(instances_.get(), doomed), cat("remove instance ", name));
}

bool is_interrupted_write(std::string_view file)
{
    return file.starts_with(cat(kConfig, ".new-")) || file.starts_with(cat(kIdentity, ".new-"));
}

} // namespace coppice::instance
