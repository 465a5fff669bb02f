#include "coppice/instance/rename.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <climits>
#include <unistd.h>

namespace coppice::instance {

namespace {

constexpr const char* kRenaming = "renaming"; ///< a link; its target is the new name

} // namespace

Result<> note_rename(const os::Fd& directory, const std::string& to)
{
    TRY(os::remove_file(directory.get(), kRenaming)); // of a try that failed
    if (::symlinkat(to.c_str(), directory.get(), kRenaming) < 0) return fail_os(errno, "note the new name");
    return os::sync_directory(directory.get(), "the instance's directory");
}

Result<std::optional<std::string>> find_rename(const InstanceStore& store, const std::string& name)
{
    const auto directory = TRY(store.find_directory(name));
    std::string to(NAME_MAX, '\0');
    const auto got = ::readlinkat(directory.get(), kRenaming, to.data(), to.size());
    if (got < 0 && errno == ENOENT) return std::optional<std::string>{};
    if (got < 0) return fail_os(errno, cat("read the new name of ", name));
    to.resize(static_cast<std::size_t>(got));
    TRY_DOING(cat("the new name of ", name), check_name(to));
    return std::optional{std::move(to)};
}

Result<> drop_rename(const InstanceStore& store, const std::string& name)
{
    return os::remove_file(TRY(store.find_directory(name)).get(), kRenaming);
}

Result<> carry_out_rename(const InstanceStore& store, const std::string& name, const std::string& to)
{
    const auto directory = TRY(store.find_directory(name));
    const auto turn = TRY(os::FileLock::take(directory.get(), kEditLock)); // nobody writes the old name into it
    if (name != to) {
        const int all = store.instances().get();
        TRY_DOING(cat("instance ", to), os::rename_at(all, name, all, to, false));
        TRY(os::sync_directory(all, "instances/")); // before the description, which fits this name only
    }
    auto config = TRY(InstanceStore::read_config_in(directory));
    if (config.name != to) {
        if (config.hostname.empty() && !config.started.empty()) config.hostname = config.name;
        const std::string own = cat(store.root(), "/instances/", config.name, '/');
        for (Volume& volume : config.volumes) // that came with it when it was imported
            if (volume.source.starts_with(own))
                volume.source =
                    cat(store.root(), "/instances/", to, '/', std::string_view{volume.source}.substr(own.size()));
        config.name = to;
        TRY(InstanceStore::write_config(directory, config));
    }
    return os::remove_file(directory.get(), kRenaming);
}

} // namespace coppice::instance
