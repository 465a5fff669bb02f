#pragma once

#include "coppice/base/result.h"

#include <cerrno>
#include <utility>
#include <vector>

namespace coppice::os {

/// Owner of one file descriptor, always close-on-exec. Empty is -1. No implicit conversion, so that a descriptor is
/// never mistaken for a number or a truth value.
class [[nodiscard]] Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_{fd} {}
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    Fd(Fd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
    Fd& operator=(Fd&& other) noexcept
    {
        if (this != &other) {
            reset();
            fd_ = std::exchange(other.fd_, -1);
        }
        return *this;
    }
    ~Fd() { reset(); }

    [[nodiscard]] int get() const { return fd_; }
    [[nodiscard]] bool is_open() const { return fd_ >= 0; }
    /// Gives the descriptor up without closing it.
    [[nodiscard]] int release() { return std::exchange(fd_, -1); }
    void reset();

    /// A second descriptor for the same open file description.
    [[nodiscard]] Result<Fd> duplicate() const;

private:
    int fd_ = -1;
};

/// Repeats a system call that a signal interrupted.
template <typename Call> auto retry_eintr(Call call)
{
    decltype(call()) result;
    do
        result = call();
    while (result < 0 && errno == EINTR);
    return result;
}

/// Closes every descriptor from `first` on but those in `keep`. Close-on-exec is no substitute: execve(2) resolves its
/// path, and the interpreter in a script's first line, while such descriptors are still open below /proc/self/fd.
Result<> close_all_but(unsigned first, std::vector<int> keep);

/// Closes every descriptor from `first` on, or marks them close-on-exec. Source: close_range(2), Linux 5.9/5.11.
Result<> close_from(unsigned first);
Result<> mark_cloexec_from(unsigned first);

} // namespace coppice::os
