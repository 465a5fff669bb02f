#include "coppice/os/id_map.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/namespace.h"
#include "coppice/os/process.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <sched.h>
#include <unistd.h>

namespace coppice::os {

namespace {

constexpr std::size_t kMaxRanges = 340; // the kernel's UID_GID_MAP_MAX_EXTENTS
constexpr std::size_t kMaxBytes = 4096; // and it takes less than a page in one write

bool overlaps(std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges)
{
    std::sort(ranges.begin(), ranges.end());
    for (std::size_t i = 1; i < ranges.size(); ++i)
        if (ranges[i].first < ranges[i - 1].second) return true;
    return false;
}

std::string lines_of(const IdMap& map)
{
    std::string text;
    for (const IdMapping& range : map)
        text += cat(range.inside, ' ', range.outside, ' ', range.size, '\n');
    return text;
}

/// The one id that every user may map: its own.
bool is_only(const IdMap& map, std::uint32_t id)
{
    return map.size() == 1 && map.front().size == 1 && map.front().outside == id;
}

/// newuidmap(1), newgidmap(1): set-uid programs that map what /etc/subuid and /etc/subgid give to a user.
Result<> map_by_helper(const char* program, pid_t pid, const IdMap& map)
{
    std::vector<std::string> words{program, cat(pid)};
    for (const IdMapping& range : map)
        for (const std::uint32_t number : {range.inside, range.outside, range.size})
            words.push_back(cat(number));
    std::vector<char*> args;
    args.reserve(words.size() + 1);
    for (const std::string& word : words)
        args.push_back(const_cast<char*>(word.c_str()));
    args.push_back(nullptr);
    auto helper = TRY(fork_process({}, [&] {
        ::execvp(program, args.data());
        return errno == ENOENT ? 127 : 126;
    }));
    const auto status = TRY(helper.wait());
    if (status.code == 127)
        return fail(Error{ErrorKind::NotFound, cat("map ids: the program ", program, " is missing")}.hint(
            "install the package uidmap"));
    if (status.code != 0)
        return fail(
            Error{ErrorKind::Denied, cat("map ids: ", program, " refused the ranges, status ", status.code)}.hint(
                "/etc/subuid and /etc/subgid say which ids belong to whom"));
    return {};
}

} // namespace

Result<> check_id_map(const IdMap& map)
{
    if (map.empty()) return fail(ErrorKind::Invalid, "an id mapping has no range");
    if (map.size() > kMaxRanges)
        return fail(ErrorKind::Invalid, cat("an id mapping has more than ", kMaxRanges, " ranges"));
    if (lines_of(map).size() >= kMaxBytes)
        return fail(ErrorKind::Invalid,
                    cat("an id mapping takes ", kMaxBytes, " bytes or more as the kernel is told it"));
    std::vector<std::pair<std::uint64_t, std::uint64_t>> inside, outside;
    for (const IdMapping& range : map) {
        const std::uint64_t size = range.size;
        // The last 32-bit id is the kernel's "no id".
        if (size == 0 || range.inside + size > UINT32_MAX || range.outside + size > UINT32_MAX)
            return fail(ErrorKind::Invalid, "an id mapping has an empty range or one that passes the last id");
        inside.emplace_back(range.inside, range.inside + size);
        outside.emplace_back(range.outside, range.outside + size);
    }
    if (overlaps(std::move(inside)) || overlaps(std::move(outside)))
        return fail(ErrorKind::Invalid, "the ranges of an id mapping overlap");
    return {};
}

std::optional<std::uint32_t> to_outside(const IdMap& map, std::uint32_t inside)
{
    for (const IdMapping& range : map)
        if (inside >= range.inside && inside - range.inside < range.size)
            return range.outside + (inside - range.inside);
    return std::nullopt;
}

Result<> write_id_maps(pid_t pid, const UserMapping& mapping)
{
    const std::string process = cat("/proc/", pid);
    const bool privileged = ::geteuid() == 0;
    if (!privileged && !is_only(mapping.uids, ::geteuid()))
        TRY(map_by_helper("newuidmap", pid, mapping.uids));
    else
        TRY_DOING("map user ids", write_control(kCwd, process + "/uid_map", lines_of(mapping.uids)));
    if (!privileged && !is_only(mapping.gids, ::getegid())) return map_by_helper("newgidmap", pid, mapping.gids);
    // Who may drop groups may gain what the group is denied, so an ordinary user has to give that up first.
    if (!privileged) TRY_DOING("map group ids", write_control(kCwd, process + "/setgroups", "deny"));
    return with_context(write_control(kCwd, process + "/gid_map", lines_of(mapping.gids)), "map group ids");
}

Result<Fd> make_user_namespace(const UserMapping& mapping)
{
    auto holder = TRY(fork_process({.flags = CLONE_NEWUSER}, [] {
        // Nothing of the caller's may live on in here should it be killed: no pipe, no lock, nor this process.
        if (!close_from(0) || !die_with_parent(SIGKILL)) return 1;
        for (;;)
            ::pause();
        return 0;
    }));
    TRY(write_id_maps(holder.pid(), mapping));
    return open_namespace_of(holder.pid(), *find_namespace_kind("user"));
}

} // namespace coppice::os
