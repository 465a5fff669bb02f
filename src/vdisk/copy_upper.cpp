#include "copy_upper.h"

#include "coppice/base/text.h"
#include "coppice/os/copy_file.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <cerrno>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr std::int64_t kNanoseconds = 1'000'000'000;
/// Two changes nearer to each other than a tick of the clock leave the same ctime; the longest tick is 10 ms.
constexpr std::int64_t kBlurNanoseconds = 20'000'000;
constexpr std::uint64_t kEntryBytes = 4096; ///< what an entry without content costs, about
constexpr std::string_view kOurXattrs = "trusted.coppice.";

std::int64_t nanoseconds(const timespec& time) { return time.tv_sec * kNanoseconds + time.tv_nsec; }
bool is_equal(const timespec& a, const timespec& b) { return nanoseconds(a) == nanoseconds(b); }

/// As the kernel takes it for a ctime.
timespec coarse_now()
{
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now;
}

bool is_whiteout(const struct stat& status) { return S_ISCHR(status.st_mode) && status.st_rdev == 0; }

/// What a change by somebody else in the wrong moment looks like.
bool tells_of_change(const Error& error)
{
    const int number = error.os_errno();
    return number == ENOENT || number == ENOTDIR || number == ELOOP || number == ENXIO || number == ENODATA ||
           number == EINVAL;
}

bool is_memory_only(int directory)
{
    struct statfs status{};
    return ::fstatfs(directory, &status) < 0 || status.f_type == TMPFS_MAGIC;
}

std::string path_of(int directory, std::string_view name) { return cat(os::path_of(directory), '/', name); }

} // namespace

UpperCopy::UpperCopy(Places places, store::Watch watch)
    : links_{std::move(places.links)}, watch_{std::move(watch)}, from_{std::move(places.from)},
      to_{std::move(places.to)}, directories_(1)
{
}

Result<> UpperCopy::pass(Writers writers)
{
    writers_ = writers;
    work_ = 0;
    pending_.assign(1, 0);
    for (std::size_t next = 0; next < pending_.size(); ++next)
        TRY(copy_directory(pending_[next]));
    return {};
}

Result<> UpperCopy::vanished(std::string_view name) const
{
    if (writers_ == Writers::Running) return {};
    return fail(ErrorKind::Conflict, cat(printable(name), " was changed by somebody who was not halted"));
}

/// False: what was to be done has come too late, which a later pass sees.
Result<bool> UpperCopy::unless_vanished(Result<> done, std::string_view name) const
{
    if (done) return true;
    if (!tells_of_change(done.error()) || writers_ == Writers::Halted) return fail(std::move(done).error());
    TRY(vanished(name));
    return false;
}

bool UpperCopy::is_sure(const timespec& changed, const timespec& now) const
{
    return tells_changes_ && nanoseconds(changed) + kBlurNanoseconds < nanoseconds(now);
}

bool UpperCopy::is_current(const Seen& seen, const struct stat& status) const
{
    return is_equal(seen.changed, status.st_ctim) && seen.size == status.st_size;
}

bool UpperCopy::is_same(const Entry& entry, const struct stat& status) const
{
    if (is_whiteout(status)) return entry.type == 0; // its ctime tells of other names
    if (entry.type != (status.st_mode & S_IFMT) || entry.inode != status.st_ino) return false;
    if (S_ISDIR(status.st_mode)) return true;
    const auto seen = seen_.find(status.st_ino);
    return seen != seen_.end() && seen->second.copy == entry.copy && is_current(seen->second, status);
}

Result<> UpperCopy::copy_directory(std::uint32_t number)
{
    auto from = from_.open_directory(number);
    if (!from) {
        if (!tells_of_change(from.error())) return fail(std::move(from).error());
        return vanished(from_.path_of(number));
    }
    const Pair pair{.number = number, .from = *std::move(from), .to = TRY(to_.open_directory(number))};
    if (number == 0) tells_changes_ = !is_memory_only(pair.from.get());
    const auto now = coarse_now();
    struct stat status{};
    if (::fstat(pair.from.get(), &status) < 0) return fail_os(errno, "stat a directory");
    if (number != 0 && status.st_ino != directories_[number].inode) return vanished(from_.path_of(number));
    auto names = TRY(os::list_directory(pair.from.get(), "."));
    std::sort(names.begin(), names.end());
    bool touched = TRY(remove_gone(pair, names));
    for (const std::string& name : names)
        if (TRY(update(pair, name))) touched = true;
    const Directory& known = directories_[number];
    if (!touched && known.is_sure && is_equal(known.changed, status.st_ctim)) return {};
    return with_context(copy_look(pair, status, now), printable(from_.path_of(number)));
}

/// The directory's own properties: after its entries, which change its time.
Result<> UpperCopy::copy_look(const Pair& pair, const struct stat& status, const timespec& now)
{
    TRY(os::copy_properties(status, pair.to.get(), "."));
    const auto look = os::copy_xattrs(path_of(pair.from.get(), "."), path_of(pair.to.get(), "."), kOurXattrs);
    const bool done = TRY(unless_vanished(look, "a directory"));
    Directory& known = directories_[pair.number];
    known.changed = status.st_ctim;
    known.is_sure = done && is_sure(status.st_ctim, now);
    return {};
}

Result<bool> UpperCopy::remove_gone(const Pair& pair, const std::vector<std::string>& names)
{
    auto& entries = directories_[pair.number].entries;
    bool touched = false;
    for (auto entry = entries.begin(); entry != entries.end();) {
        if (std::binary_search(names.begin(), names.end(), entry->first)) {
            ++entry;
            continue;
        }
        TRY(os::remove_tree(pair.to.get(), entry->first));
        entry = entries.erase(entry);
        touched = true;
    }
    return touched;
}

/// @returns whether the entry was changed in the copy
Result<bool> UpperCopy::update(const Pair& pair, const std::string& name)
{
    TRY(watch_(copied_));
    const auto now = coarse_now();
    const auto status = TRY(os::find_status(pair.from.get(), name, false));
    if (!status) {
        TRY(vanished(name));
        return false; // if the copy has it, the next pass takes it away
    }
    auto& entries = directories_[pair.number].entries;
    if (const auto known = entries.find(name); known != entries.end()) {
        if (is_same(known->second, *status)) {
            if (S_ISDIR(status->st_mode)) pending_.push_back(known->second.directory);
            return false;
        }
        TRY(os::remove_tree(pair.to.get(), name));
        entries.erase(known);
    }
    const auto made = TRY_DOING(printable(name), copy(pair, name, *status, now));
    if (made) entries.emplace(name, *made);
    return true;
}

/// Nothing: it is left to a later pass.
Result<std::optional<UpperCopy::Entry>> UpperCopy::copy(const Pair& pair, const std::string& name, struct stat status,
                                                        const timespec& now)
{
    if (S_ISDIR(status.st_mode)) return std::optional{TRY(make_directory(pair, name, status.st_ino))};
    if (is_whiteout(status)) {
        if (::mknodat(pair.to.get(), name.c_str(), S_IFCHR, 0) < 0) return fail_os(errno, "copy a whiteout");
        return std::optional{Entry{}};
    }
    const auto seen = seen_.find(status.st_ino);
    if (status.st_nlink > 1 && seen != seen_.end() && is_current(seen->second, status)) {
        if (::linkat(links_.get(), cat(status.st_ino).c_str(), pair.to.get(), name.c_str(), 0) < 0)
            return fail_os(errno, "give a copy another name");
        return std::optional{Entry{.type = status.st_mode & S_IFMT, .inode = status.st_ino, .copy = seen->second.copy}};
    }
    work_ += kEntryBytes + static_cast<std::uint64_t>(status.st_size);
    if (!TRY(copy_inode(pair, name, status, now))) return std::optional<Entry>{};
    return std::optional{TRY(remember(pair, name, status))};
}

Result<UpperCopy::Entry> UpperCopy::make_directory(const Pair& pair, const std::string& name, ino_t inode)
{
    TRY(os::make_directory(pair.to.get(), name, 0700));
    const auto number = TRY(from_.add_directory(pair.number, name));
    const auto same = TRY(to_.add_directory(pair.number, name));
    COPPICE_CHECK(number == same);
    directories_.push_back({.inode = inode, .changed = {}, .is_sure = false, .entries = {}});
    pending_.push_back(number);
    return Entry{.type = S_IFDIR, .inode = inode, .directory = number};
}

/// False: there is no copy, it is left to a later pass. @param status as it was before it was copied
Result<bool> UpperCopy::copy_inode(const Pair& pair, const std::string& name, struct stat& status, const timespec& now)
{
    if (writers_ == Writers::Running && !is_sure(status.st_ctim, now)) return false;
    if (S_ISREG(status.st_mode)) {
        if (!TRY(copy_file(pair, name, status, now))) return false;
    } else if (S_ISLNK(status.st_mode)) {
        if (!TRY(unless_vanished(os::copy_link(pair.from.get(), pair.to.get(), name), name))) return false;
    } else if (::mknodat(pair.to.get(), name.c_str(), status.st_mode, status.st_rdev) < 0) {
        return fail_os(errno, "copy a special file");
    }
    TRY(os::copy_properties(status, pair.to.get(), name));
    const auto look = os::copy_xattrs(path_of(pair.from.get(), name), path_of(pair.to.get(), name), {});
    if (TRY(unless_vanished(look, name))) return true;
    TRY(os::remove_file(pair.to.get(), name));
    return false;
}

Result<bool> UpperCopy::copy_file(const Pair& pair, const std::string& name, struct stat& status, const timespec& now)
{
    const auto inode = status.st_ino;
    auto from = os::open_at(pair.from.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_NOATIME);
    if (!from) return unless_vanished(fail(std::move(from).error()), name);
    if (::fstat(from->get(), &status) < 0) return fail_os(errno, "stat a file");
    if (writers_ == Writers::Running) {
        if (status.st_ino != inode || !S_ISREG(status.st_mode) || !is_sure(status.st_ctim, now)) return false;
        const auto bytes = static_cast<std::uint64_t>(status.st_size);
        TRY(os::write_pages_back(from->get(), bytes, name, [this](std::uint64_t written) { return step(written); }));
    }
    const auto to = TRY(os::open_at(pair.to.get(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    TRY(copy_content(from->get(), to.get(), status, name));
    return true;
}

Result<> UpperCopy::copy_content(int from, int to, const struct stat& status, const std::string& name)
{
    const auto bytes = static_cast<std::uint64_t>(status.st_size);
    if (clones_ && bytes > 0) {
        clones_ = TRY(os::clone_content(from, to, name));
        if (clones_) return step(bytes);
    }
    return os::copy_content(from, to, bytes, name, [this](std::uint64_t copied) { return step(copied); });
}

/// What was just copied: other names of it become names of this copy.
Result<UpperCopy::Entry> UpperCopy::remember(const Pair& pair, const std::string& name, const struct stat& status)
{
    seen_[status.st_ino] = {.changed = status.st_ctim, .size = status.st_size, .copy = ++last_copy_};
    if (status.st_nlink > 1) {
        const std::string number = cat(status.st_ino);
        TRY(os::remove_file(links_.get(), number));
        if (::linkat(pair.to.get(), name.c_str(), links_.get(), number.c_str(), 0) < 0)
            return fail_os(errno, "note a copy with several names");
    }
    return Entry{.type = status.st_mode & S_IFMT, .inode = status.st_ino, .copy = last_copy_};
}

Result<> UpperCopy::step(std::uint64_t bytes)
{
    copied_ += bytes;
    return watch_(copied_);
}

} // namespace coppice::vdisk
