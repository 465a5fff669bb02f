#include "accounts.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"

#include <array>

namespace coppice::runtime {

namespace {

constexpr std::size_t kFileMaxBytes = 8U << 20;
constexpr std::int64_t kMaxId = UINT32_MAX - 1;

/// The colon-separated fields of one line; missing ones are empty.
std::array<std::string_view, 7> fields_of(std::string_view line)
{
    std::array<std::string_view, 7> fields;
    for (auto& field : fields)
        field = next_part(line, ':');
    return fields;
}

/// Calls `visit` with the fields of each line until it returns true.
template <typename Visit> void each_line(std::string_view text, Visit visit)
{
    while (!text.empty()) {
        const auto line = next_part(text, '\n');
        if (!line.empty() && line.front() != '#' && visit(fields_of(line))) return;
    }
}

bool is_number(std::string_view text) { return text.find_first_not_of("0123456789") == std::string_view::npos; }

bool lists(std::string_view members, std::string_view name)
{
    while (!members.empty())
        if (next_part(members, ',') == name) return true;
    return false;
}

} // namespace

std::string Accounts::read(const char* path) const
{
    const auto file = os::open_in_root(root_, path, O_RDONLY | O_NONBLOCK);
    if (!file) return {};
    struct stat status{};
    if (::fstat(file->get(), &status) < 0 || !S_ISREG(status.st_mode)) return {};
    auto text = os::read_all(*file, kFileMaxBytes, path);
    return text ? *std::move(text) : std::string{};
}

Result<User> Accounts::find_user(std::string_view text) const
{
    const auto colon = text.find(':');
    const std::string_view name = text.substr(0, colon);
    const std::string_view group = colon == std::string_view::npos ? std::string_view{} : text.substr(colon + 1);
    if (name.empty() || (colon != std::string_view::npos && group.empty()))
        return fail(ErrorKind::Invalid, cat("'", text, "' is not a user; give USER, UID, or either with :GROUP"));

    User user;
    std::string_view listed_name;
    const std::string passwd = read("etc/passwd");
    if (is_number(name)) user.uid = static_cast<uid_t>(TRY_DOING("user id", parse_integer(name, 0, kMaxId)));
    bool found = false;
    each_line(passwd, [&](const auto& line) {
        const auto uid = parse_integer(line[2], 0, kMaxId);
        const auto gid = parse_integer(line[3], 0, kMaxId);
        if (!uid || !gid || (is_number(name) ? static_cast<uid_t>(*uid) != user.uid : line[0] != name)) return false;
        user.uid = static_cast<uid_t>(*uid);
        user.gid = static_cast<gid_t>(*gid);
        listed_name = line[0];
        return found = true;
    });
    if (!found && !is_number(name))
        return fail(Error{ErrorKind::NotFound, cat("there is no user '", name, "' in the instance's /etc/passwd")}.hint(
            "give a number or another name"));

    const std::string groups = read("etc/group");
    if (group.empty()) {
        each_line(groups, [&](const auto& line) {
            const auto gid = parse_integer(line[2], 0, kMaxId);
            if (gid && found && static_cast<gid_t>(*gid) != user.gid && lists(line[3], listed_name))
                user.additional_gids.push_back(static_cast<gid_t>(*gid));
            return false;
        });
        return user;
    }
    if (is_number(group)) {
        user.gid = static_cast<gid_t>(TRY_DOING("group id", parse_integer(group, 0, kMaxId)));
        return user;
    }
    bool group_found = false;
    each_line(groups, [&](const auto& line) {
        const auto gid = parse_integer(line[2], 0, kMaxId);
        if (!gid || line[0] != group) return false;
        user.gid = static_cast<gid_t>(*gid);
        return group_found = true;
    });
    if (!group_found)
        return fail(ErrorKind::NotFound, cat("there is no group '", group, "' in the instance's /etc/group"));
    return user;
}

std::optional<std::string> Accounts::name_of(uid_t uid) const
{
    std::optional<std::string> name;
    const std::string passwd = read("etc/passwd");
    each_line(passwd, [&](const auto& line) {
        const auto listed = parse_integer(line[2], 0, kMaxId);
        if (!listed || static_cast<uid_t>(*listed) != uid) return false;
        name = line[0];
        return true;
    });
    return name;
}

std::string Accounts::home_of(uid_t uid) const
{
    std::string home = "/";
    const std::string passwd = read("etc/passwd");
    each_line(passwd, [&](const auto& line) {
        const auto listed = parse_integer(line[2], 0, kMaxId);
        if (!listed || static_cast<uid_t>(*listed) != uid || !line[5].starts_with('/')) return false;
        home = line[5];
        return true;
    });
    return home;
}

} // namespace coppice::runtime
