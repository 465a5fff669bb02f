#pragma once

#include "coppice/api/event.h"
#include "coppice/daemon/wakers.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace coppice::daemon {

/// What happened lately: a bounded ring from which any number of consumers read at their own pace. Nothing is kept per
/// consumer; one that falls behind the ring is told so. Any thread.
class EventHub {
public:
    /// @param first_id ids must grow from one life of the daemon to the next: microseconds since 1970 do, as long as
    ///        the clock is not set back
    explicit EventHub(std::size_t capacity = 4096, std::uint64_t first_id = microseconds_now());

    void publish(std::string type, std::string subject, nlohmann::json data);
    /// Of the last event; one below `first_id` when there was none yet.
    [[nodiscard]] std::uint64_t last_id() const;

    struct Batch {
        std::vector<api::Event> events;
        bool lost = false; ///< the first one is then an "events.lost" in the place of those that are gone
    };
    /// At most `most` events behind the one with the id `after`.
    [[nodiscard]] Batch after(std::uint64_t after, std::size_t most) const;
    /// `wake` is called after each publication.
    [[nodiscard]] std::shared_ptr<void> watch(std::function<void()> wake) { return wakers_.add(std::move(wake)); }

    static std::uint64_t microseconds_now();

private:
    struct Ring {
        std::deque<api::Event> events;
        std::uint64_t next_id;
    };
    std::size_t capacity_;
    Guarded<Ring> ring_;
    Wakers<> wakers_;
};

} // namespace coppice::daemon
