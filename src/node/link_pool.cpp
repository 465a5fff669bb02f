#include "link_pool.h"

#include "coppice/base/log.h"
#include "coppice/os/file.h"

#include <cerrno>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace coppice::node {

namespace {

constexpr std::uint64_t kEnd = 0; ///< what epoll says of the descriptor that ends the threads

Result<> watch(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t id)
{
    epoll_event event{.events = events, .data = {.u64 = id}};
    if (::epoll_ctl(epoll, operation, fd, &event) < 0) return fail_os(errno, "watch an instance's supervisor");
    return {};
}

} // namespace

Result<std::unique_ptr<LinkPool>> LinkPool::make(unsigned threads)
{
    os::Fd epoll{::epoll_create1(EPOLL_CLOEXEC)};
    os::Fd end{::eventfd(0, EFD_CLOEXEC)};
    if (!epoll.is_open() || !end.is_open()) return fail_os(errno, "watch supervisors");
    TRY(watch(epoll.get(), EPOLL_CTL_ADD, end.get(), EPOLLIN, kEnd));
    std::unique_ptr<LinkPool> pool{new LinkPool{std::move(epoll), std::move(end)}};
    pool->threads_.reserve(threads);
    for (unsigned i = 0; i < threads; ++i)
        pool->threads_.emplace_back([self = pool.get()] { self->work(); });
    return pool;
}

void LinkPool::stop()
{
    const std::uint64_t one = 1;
    // The counter is never read: all threads see it.
    COPPICE_CHECK(::write(end_.get(), &one, sizeof one) == sizeof one);
    for (std::thread& thread : threads_)
        if (thread.joinable()) thread.join();
}

Result<> LinkPool::add(const os::Fd& socket, Handler handler)
{
    const std::lock_guard lock{mutex_};
    const std::uint64_t id = ++last_;
    links_[id] = std::make_shared<Link>(Link{.socket = socket.get(), .handler = std::move(handler)});
    auto added = watch(epoll_.get(), EPOLL_CTL_ADD, socket.get(), EPOLLIN | EPOLLONESHOT, id);
    if (!added) links_.erase(id);
    return added;
}

void LinkPool::work()
{
    for (;;) {
        epoll_event event{};
        const auto got = os::retry_eintr([&] { return ::epoll_wait(epoll_.get(), &event, 1, -1); });
        COPPICE_CHECK(got >= 0);
        if (got == 0) continue;
        if (event.data.u64 == kEnd) return;
        std::shared_ptr<Link> link;
        {
            const std::lock_guard lock{mutex_};
            link = links_.at(event.data.u64);
        }
        bool goes_on = link->handler();
        if (goes_on) {
            const auto again = watch(epoll_.get(), EPOLL_CTL_MOD, link->socket, EPOLLIN | EPOLLONESHOT, event.data.u64);
            if (again) continue;
            log::error("node", "a supervisor is not heard any more", {{"error", again.error().line()}});
        }
        const std::lock_guard lock{mutex_};
        links_.erase(event.data.u64);
    }
}

} // namespace coppice::node
