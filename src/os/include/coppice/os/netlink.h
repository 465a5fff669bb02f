#pragma once

#include "coppice/os/fd.h"

#include <cstdint>

namespace coppice::os {

/// A route netlink socket in the network namespace of its creation. Source: rtnetlink(7)
class RouteSocket {
public:
    static Result<RouteSocket> open();
    /// Switches an interface on. @param index 1 is always the loopback. Errors: NotFound
    Result<> set_link_up(int index);

private:
    explicit RouteSocket(Fd fd) : fd_{std::move(fd)} {}
    /// Sends one request and waits for the kernel's acknowledgement.
    Result<> request(void* message, std::size_t length, const char* doing);
    Fd fd_;
    std::uint32_t sequence_ = 0;
};

inline constexpr int kLoopbackIndex = 1;

} // namespace coppice::os
