#pragma once

#include "coppice/store/watch.h"
#include "directory_source.h"

#include <ctime>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace coppice::vdisk {

/// A copy of an overlay's upper directory as it is, marks of overlayfs included, made in passes: all but the last one
/// while somebody writes there, the last one while nobody does. Each copies what is not as an earlier one has seen it,
/// and takes away what has gone, so the last one has little left to do.
///
/// A file counts as seen when its pages were written back after it was looked at and before it was copied: then even a
/// store through a mapping changes its ctime. What has changed a moment before is left to a later pass, because the
/// next change might leave it with the same ctime.
class UpperCopy {
public:
    struct Places {
        os::Fd from;  ///< the upper directory
        os::Fd to;    ///< an empty directory of the same file system
        os::Fd links; ///< another one, for what has several names; in the way once the copy is done
    };
    UpperCopy(Places places, store::Watch watch);

    enum class Writers : unsigned char { Running, Halted };
    /// Errors: Unavailable (no space left), Conflict (Halted: somebody does write there), those of `watch`
    Result<> pass(Writers writers);

    /// How much the last pass has found to be copied, done or left to the next one: roughly, in bytes.
    [[nodiscard]] std::uint64_t work() const { return work_; }
    /// Of content that was copied, by all passes.
    [[nodiscard]] std::uint64_t copied() const { return copied_; }
    /// All of it has its blocks in common with what it was copied from.
    [[nodiscard]] bool is_shared() const { return clones_ && copied_ > 0; }

private:
    /// What was copied of something that is no directory.
    struct Seen {
        timespec changed{};
        off_t size = 0;
        std::uint64_t copy = 0; ///< which one
    };
    struct Entry {
        mode_t type = 0; ///< 0: a whiteout
        ino_t inode = 0;
        std::uint64_t copy = 0;      ///< of Seen, unless it is a directory
        std::uint32_t directory = 0; ///< in directories_
    };
    struct Directory {
        ino_t inode = 0;
        timespec changed{};
        bool is_sure = false;                 ///< no change since then can have left it with this ctime
        std::map<std::string, Entry> entries; ///< of the copy
    };
    struct Pair {
        std::uint32_t number;
        os::Fd from, to;
    };

    [[nodiscard]] Result<> vanished(std::string_view name) const;
    [[nodiscard]] Result<bool> unless_vanished(Result<> done, std::string_view name) const;
    [[nodiscard]] bool is_sure(const timespec& changed, const timespec& now) const;
    [[nodiscard]] bool is_current(const Seen& seen, const struct stat& status) const;
    [[nodiscard]] bool is_same(const Entry& entry, const struct stat& status) const;
    Result<> copy_directory(std::uint32_t number);
    Result<> copy_look(const Pair& pair, const struct stat& status, const timespec& now);
    Result<bool> remove_gone(const Pair& pair, const std::vector<std::string>& names);
    Result<bool> update(const Pair& pair, const std::string& name);
    Result<std::optional<Entry>> copy(const Pair& pair, const std::string& name, struct stat status,
                                      const timespec& now);
    Result<Entry> make_directory(const Pair& pair, const std::string& name, ino_t inode);
    Result<bool> copy_inode(const Pair& pair, const std::string& name, struct stat& status, const timespec& now);
    Result<bool> copy_file(const Pair& pair, const std::string& name, struct stat& status, const timespec& now);
    Result<> copy_content(int from, int to, const struct stat& status, const std::string& name);
    Result<Entry> remember(const Pair& pair, const std::string& name, const struct stat& status);
    Result<> step(std::uint64_t bytes);

    os::Fd links_;
    store::Watch watch_;
    DirectorySource from_, to_;          ///< directories have the same numbers in both
    std::deque<Directory> directories_;  ///< which stay where they are while others come
    std::vector<std::uint32_t> pending_; ///< of the pass that is going on
    std::unordered_map<ino_t, Seen> seen_;
    Writers writers_ = Writers::Running;
    bool tells_changes_ = true; ///< the file system changes the ctime of what is stored through a mapping
    bool clones_ = true;
    std::uint64_t last_copy_ = 0, work_ = 0, copied_ = 0;
};

} // namespace coppice::vdisk
