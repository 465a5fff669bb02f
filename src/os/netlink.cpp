#include "coppice/os/netlink.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

namespace coppice::os {

Result<RouteSocket> RouteSocket::open()
{
    Fd fd{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
    if (!fd.is_open()) return fail_os(errno, "open a netlink socket");
    return RouteSocket{std::move(fd)};
}

Result<> RouteSocket::request(void* message, std::size_t length, const char* doing)
{
    auto* const header = static_cast<nlmsghdr*>(message);
    header->nlmsg_len = static_cast<std::uint32_t>(length);
    header->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    header->nlmsg_seq = ++sequence_;
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    const auto sent = retry_eintr([&] {
        return ::sendto(fd_.get(), message, length, 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel);
    });
    if (sent < 0) return fail_os(errno, doing);
    alignas(nlmsghdr) std::array<char, 4096> answer{};
    const auto got = retry_eintr([&] { return ::recv(fd_.get(), answer.data(), answer.size(), 0); });
    if (got < 0) return fail_os(errno, doing);
    nlmsghdr reply{};
    nlmsgerr error{};
    if (static_cast<std::size_t>(got) < sizeof reply + sizeof error)
        return fail(ErrorKind::Corrupt, "a netlink answer is too short");
    std::memcpy(&reply, answer.data(), sizeof reply);
    std::memcpy(&error, answer.data() + NLMSG_HDRLEN, sizeof error);
    if (reply.nlmsg_type != NLMSG_ERROR) return fail(ErrorKind::Corrupt, "an unexpected netlink answer");
    if (error.error != 0) return fail_os(-error.error, doing);
    return {};
}

Result<> RouteSocket::set_link_up(int index)
{
    struct {
        nlmsghdr header;
        ifinfomsg link;
    } message{};
    message.header.nlmsg_type = RTM_NEWLINK;
    message.link.ifi_family = AF_UNSPEC;
    message.link.ifi_index = index;
    message.link.ifi_flags = IFF_UP;
    message.link.ifi_change = IFF_UP;
    return request(&message, sizeof message, "switch a network interface on");
}

} // namespace coppice::os
