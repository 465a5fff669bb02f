#include "coppice/daemon/events.h"

#include <gtest/gtest.h>

namespace coppice::daemon {
namespace {

std::vector<std::uint64_t> ids(const EventHub::Batch& batch)
{
    std::vector<std::uint64_t> all;
    for (const auto& event : batch.events)
        all.push_back(event.id);
    return all;
}

using Ids = std::vector<std::uint64_t>;

TEST(EventHubTest, TellsWhatLiesBehind)
{
    EventHub hub{4, 100};
    EXPECT_EQ(hub.last_id(), 99U);
    EXPECT_EQ(ids(hub.after(99, 10)), Ids{});
    for (int i = 0; i < 3; ++i)
        hub.publish("t", "s", i);
    EXPECT_EQ(hub.last_id(), 102U);
    EXPECT_EQ(ids(hub.after(99, 10)), (Ids{100, 101, 102}));
    EXPECT_EQ(ids(hub.after(100, 1)), (Ids{101}));
    EXPECT_EQ(ids(hub.after(102, 10)), Ids{});
}

TEST(EventHubTest, SaysWhatIsLost)
{
    EventHub hub{4, 100};
    for (int i = 0; i < 10; ++i)
        hub.publish("t", "s", i); // 106 to 109 are left
    const auto batch = hub.after(103, 10);
    EXPECT_TRUE(batch.lost);
    EXPECT_EQ(ids(batch), (Ids{105, 106, 107, 108, 109}));
    EXPECT_EQ(batch.events.front().type, "events.lost");
    EXPECT_FALSE(hub.after(105, 10).lost) << "nothing lies between";
    EXPECT_TRUE(hub.after(5, 10).lost) << "of an earlier life";
    EXPECT_TRUE(hub.after(110, 10).lost) << "of a life whose clock was ahead";
    EXPECT_TRUE(EventHub(4, 100).after(5, 10).lost) << "and when nothing has happened yet";
}

TEST(EventHubTest, WakesWhileSomebodyWatches)
{
    EventHub hub{4};
    int woken = 0;
    auto watching = hub.watch([&] { ++woken; });
    hub.publish("t", "", {});
    hub.publish("t", "", {});
    EXPECT_EQ(woken, 2);
    watching.reset();
    hub.publish("t", "", {});
    EXPECT_EQ(woken, 2);
}

} // namespace
} // namespace coppice::daemon
