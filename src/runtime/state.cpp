#include "coppice/runtime/state.h"

#include "accounts.h"
#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"
#include "coppice/runtime/spec.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace coppice::runtime {

namespace {

constexpr std::size_t kStateMaxBytes = 4U << 20;

std::string temporary_name(const StateRecord& record) { return cat(kUnfinished, record.id, '.', record.nonce); }

Result<> check_id(const std::string& id)
{
    const std::string shown = id.size() > kNameMaxBytes ? cat(id.substr(0, kNameMaxBytes), "...") : id;
    return with_context(check_name(id), cat("container id '", printable(shown), "'"));
}

Result<StateRecord> parse_record(std::string_view text)
{
    const auto document = TRY(parse_json(text));
    const JsonNode node{document};
    StateRecord record;
    record.id = TRY(TRY(node.get("id")).text());
    record.bundle = TRY(TRY(node.get("bundle")).text());
    record.oci_version = TRY(TRY(node.get("ociVersion")).text());
    record.pid = static_cast<pid_t>(TRY(node.find_integer("pid", 0, INT32_MAX)).value_or(0));
    record.start_time = TRY(TRY(node.get("startTime")).unsigned_integer());
    record.created = TRY(node.text_or("created", ""));
    record.root_path = TRY(node.text_or("rootfs", ""));
    record.owner = static_cast<uid_t>(TRY(node.find_integer("owner", 0, UINT32_MAX)).value_or(0));
    record.complete = TRY(node.boolean_or("complete", false));
    record.nonce = TRY(node.text_or("nonce", ""));
    record.new_keyring = TRY(node.boolean_or("newKeyring", true));
    record.resources = TRY(node.text_or("resources", ""));
    record.cgroup.v2 = TRY(node.text_or("cgroup", ""));
    record.resctrl = TRY(node.text_or("resctrl", ""));
    TRY(node.each_member("cgroupV1", [&record](const std::string& controller, const JsonNode& path) -> Result<> {
        record.cgroup.v1[controller] = TRY(path.text());
        return {};
    }));
    if (auto unit = TRY(node.text_or("systemdUnit", "")); !unit.empty())
        record.scope = ScopeRecord{.unit = std::move(unit), .of_user = TRY(node.boolean_or("systemdOfUser", false))};
    TRY(node.each_member("annotations", [&record](const std::string& name, const JsonNode& value) -> Result<> {
        record.annotations[name] = TRY(value.text());
        return {};
    }));
    return record;
}

} // namespace

Error already_there(const std::string& id)
{
    return Error{ErrorKind::Conflict, cat("container with given ID already exists: ", id)}.hint(
        "choose another id or delete that container");
}

std::string_view to_word(Status status)
{
    switch (status) {
    case Status::Creating: return "creating";
    case Status::Created: return "created";
    case Status::Running: return "running";
    case Status::Paused: return "paused";
    case Status::Stopped: return "stopped";
    case Status::Unknown: break;
    }
    return "unknown";
}

Result<StateRecord> ContainerDirectory::read_state() const
{
    const auto text = TRY_DOING(cat("container ", id_), os::read_file(fd_.get(), "state.json", kStateMaxBytes));
    return with_context(parse_record(text), cat("the state of container ", id_, " cannot be read"));
}

Result<> ContainerDirectory::write_state(const StateRecord& record) const
{
    nlohmann::json document{{"id", record.id},
                            {"bundle", record.bundle},
                            {"ociVersion", record.oci_version},
                            {"pid", record.pid},
                            {"startTime", record.start_time},
                            {"created", record.created},
                            {"rootfs", record.root_path},
                            {"owner", record.owner},
                            {"complete", record.complete},
                            {"nonce", record.nonce},
                            {"newKeyring", record.new_keyring},
                            {"resources", record.resources},
                            {"cgroup", record.cgroup.v2},
                            {"cgroupV1", record.cgroup.v1},
                            {"resctrl", record.resctrl},
                            {"annotations", record.annotations}};
    if (record.scope) {
        document["systemdUnit"] = record.scope->unit;
        document["systemdOfUser"] = record.scope->of_user;
    }
    const auto text = document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    return with_context(os::replace_passing_file(fd_.get(), "state.json", text),
                        cat("save the state of container ", id_));
}

Result<std::string> ContainerDirectory::read_config() const
{
    return with_context(os::read_file(fd_.get(), "config.json", kConfigMaxBytes), cat("container ", id_));
}

Result<> ContainerDirectory::write_config(std::string_view text) const
{
    const auto file = TRY(os::open_at(fd_.get(), "config.json", O_WRONLY | O_CREAT | O_EXCL, 0600));
    return with_context(os::write_all(file.get(), text, "config.json"), cat("save the state of container ", id_));
}

Result<StateRoot> StateRoot::open(const std::string& path)
{
    TRY_DOING("state root", os::make_directories(path, 0700));
    auto fd = TRY_DOING("state root", os::open_at(os::kCwd, path, O_RDONLY | O_DIRECTORY));
    struct stat status{};
    if (::fstat(fd.get(), &status) < 0) return fail_os(errno, cat("stat ", path));
    // State says whom to kill and what to remove: nobody else may have a say in it.
    if (status.st_uid != ::geteuid())
        return fail(Error{ErrorKind::Denied, cat("state root ", path, " belongs to user ", status.st_uid)}.hint(
            "choose a directory of your own with --root"));
    if ((status.st_mode & 022) != 0)
        return fail(Error{ErrorKind::Denied, cat("state root ", path, " can be written by others")}.hint(
            cat("chmod 700 ", path)));
    return StateRoot{path, std::move(fd)};
}

Result<StateRoot::Made> StateRoot::make(const StateRecord& record, std::string_view config_text) const
{
    TRY(check_id(record.id));
    const std::string doing = cat("create the state of container ", record.id, " in ", path_);
    const std::string temporary = temporary_name(record);
    const auto fill = [&]() -> Result<Made> {
        TRY(os::make_directory(fd_.get(), temporary, 0700));
        ContainerDirectory directory{record.id,
                                     TRY(os::open_at(fd_.get(), temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))};
        auto lock = TRY(os::FileLock::take(directory.fd().get(), kLockFile));
        TRY(directory.write_config(config_text));
        TRY(directory.write_state(record));
        if (::renameat2(fd_.get(), temporary.c_str(), fd_.get(), record.id.c_str(), RENAME_NOREPLACE) == 0)
            return Made{std::move(directory), std::move(lock)};
        if (errno != EEXIST) return fail_os(errno, record.id);
        return fail(already_there(record.id));
    };
    auto made = fill();
    if (made) return made;
    [[maybe_unused]] const auto removed = remove_unfinished(record); // the first error is the one to tell
    if (made.error().kind() == ErrorKind::Conflict) return made;
    return fail(std::move(made).error().with(doing));
}

Result<> StateRoot::remove_unfinished(const StateRecord& record) const
{
    return os::remove_tree(fd_.get(), temporary_name(record));
}

Result<ContainerDirectory> StateRoot::find(const std::string& id) const
{
    TRY(check_id(id));
    auto fd = os::open_at(fd_.get(), id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!fd) {
        if (fd.error().kind() == ErrorKind::NotFound)
            return fail(
                Error{ErrorKind::NotFound, cat("container does not exist: ", id)}.hint(cat("state root is ", path_)));
        return fail(std::move(fd).error());
    }
    return ContainerDirectory{id, *std::move(fd)};
}

Result<> StateRoot::remove(const std::string& id) const
{
    // The id is free at once, and what an interrupted deletion leaves looks like no container.
    const std::string doomed = cat(kUnfinished, id, '.', random_hex(16));
    if (::renameat(fd_.get(), id.c_str(), fd_.get(), doomed.c_str()) < 0) {
        if (errno == ENOENT) return {};
        return fail_os(errno, cat("remove the state of container ", id));
    }
    return with_context(os::remove_tree(fd_.get(), doomed), cat("remove the state of container ", id));
}

Result<> StateRoot::remove_unfinished_of(const std::string& id) const
{
    const std::string prefix = cat(kUnfinished, id, '.');
    for (const std::string& name : TRY(os::list_directory(fd_.get(), "."))) {
        // Ids may hold dots, what is behind ours may not.
        if (!name.starts_with(prefix) || name.find('.', prefix.size()) != std::string::npos) continue;
        if (!TRY(os::FileLock::is_held(fd_.get(), cat(name, '/', kLockFile)))) TRY(os::remove_tree(fd_.get(), name));
    }
    return {};
}

Result<std::vector<std::string>> StateRoot::list() const
{
    auto names = TRY(os::list_directory(fd_.get(), "."));
    std::erase_if(names, [](const std::string& name) { return !check_name(name).has_value(); });
    std::sort(names.begin(), names.end());
    return names;
}

Result<Status> status_of(const ContainerDirectory& directory, const StateRecord& record)
{
    if (!record.complete) {
        const bool busy = TRY(os::FileLock::is_held(directory.fd().get(), kLockFile));
        return busy ? Status::Creating : Status::Stopped;
    }
    const auto process = TRY(os::ProcessRef::find(record.pid, record.start_time));
    if (!process) return Status::Stopped;
    if (TRY(os::is_frozen(record.cgroup))) return Status::Paused;
    // It waits for its start as long as it listens. A start that was killed may have left the name behind.
    const auto listening = os::connect_in(directory.fd().get(), kStartSocket, 0);
    const bool waits = listening || listening.error().os_errno() == EAGAIN; // a full queue has somebody at its end
    return waits ? Status::Created : Status::Running;
}

std::string to_state_json(const StateRecord& record, Status status, bool pretty, std::string_view owner)
{
    nlohmann::ordered_json document{{"ociVersion", record.oci_version},
                                    {"id", record.id},
                                    {"pid", status == Status::Stopped ? 0 : record.pid},
                                    {"status", to_word(status)},
                                    {"bundle", record.bundle},
                                    {"rootfs", record.root_path},
                                    {"created", record.created},
                                    {"owner", owner}};
    if (!record.annotations.empty()) document["annotations"] = record.annotations;
    return document.dump(pretty ? 2 : -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string owner_name(uid_t uid)
{
    const auto root = os::open_at(os::kCwd, "/", O_PATH | O_DIRECTORY);
    return root ? Accounts{root->get()}.name_of(uid).value_or(cat(uid)) : cat(uid);
}

} // namespace coppice::runtime
