#include "coppice/daemon/events.h"

#include "coppice/base/time.h"

namespace coppice::daemon {

EventHub::EventHub(std::size_t capacity, std::uint64_t first_id)
    : capacity_{capacity}, ring_{Ring{.events = {}, .next_id = first_id}}
{
}

std::uint64_t EventHub::microseconds_now()
{
    const timespec time = now();
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_nsec) / 1000;
}

void EventHub::publish(std::string type, std::string subject, nlohmann::json data)
{
    ring_.with([&](Ring& ring) {
        ring.events.push_back({.id = ring.next_id++,
                               .time = to_rfc3339(now()),
                               .type = std::move(type),
                               .subject = std::move(subject),
                               .data = std::move(data)});
        if (ring.events.size() > capacity_) ring.events.pop_front();
    });
    wakers_.wake_all();
}

std::uint64_t EventHub::last_id() const
{
    return ring_.with([](const Ring& ring) { return ring.next_id - 1; });
}

EventHub::Batch EventHub::after(std::uint64_t after, std::size_t most) const
{
    return ring_.with([&](const Ring& ring) {
        const std::uint64_t oldest = ring.events.empty() ? ring.next_id : ring.events.front().id;
        Batch batch;
        // Before the ring, or from another life whose clock was ahead.
        batch.lost = after + 1 < oldest || after >= ring.next_id;
        if (batch.lost)
            batch.events.push_back({.id = oldest - 1,
                                    .time = to_rfc3339(now()),
                                    .type = "events.lost",
                                    .subject = "",
                                    .data = {{"after", after}, {"resumed_at", oldest}}});
        auto index = batch.lost ? 0 : after + 1 - oldest;
        for (; index < ring.events.size() && batch.events.size() < most; ++index)
            batch.events.push_back(ring.events[index]);
        return batch;
    });
}

} // namespace coppice::daemon
