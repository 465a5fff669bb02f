#pragma once

#include "coppice/base/result.h"
#include "coppice/runtime/spec.h"

#include <optional>
#include <string>
#include <string_view>

namespace coppice::runtime {

/// What /etc/passwd and /etc/group of a container say. Read through its root directory, following no link out of it;
/// unreadable or broken lines are passed over, as every libc does.
class Accounts {
public:
    /// @param root descriptor of the container's root directory, borrowed
    explicit Accounts(int root) : root_{root} {}

    /// "NAME", "UID", each optionally with ":GROUP" or ":GID". A number need not be listed. Supplementary groups come
    /// from /etc/group for a user that is listed and has no group given. Keeps umask.
    /// Errors: Invalid (empty part, number out of range), NotFound (no such name)
    [[nodiscard]] Result<User> find_user(std::string_view text) const;
    /// Name of a user id; empty when it is not listed.
    [[nodiscard]] std::optional<std::string> name_of(uid_t uid) const;
    /// Home directory of a user id; "/" when it is not listed.
    [[nodiscard]] std::string home_of(uid_t uid) const;

private:
    [[nodiscard]] std::string read(const char* path) const;
    int root_;
};

} // namespace coppice::runtime
