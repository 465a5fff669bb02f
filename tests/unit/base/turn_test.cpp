#include "coppice/base/turn.h"

#include <gtest/gtest.h>
#include <thread>
#include <vector>

namespace coppice {
namespace {

TEST(TurnTest, OneAtATime)
{
    Turn turn;
    int count = 0; // the thread sanitizer watches it, too
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; i < 500; ++i) {
                if (t % 2 == 0)
                    turn.lock();
                else
                    ASSERT_TRUE(turn.lock_while([] { return true; }));
                const std::lock_guard lock{turn, std::adopt_lock};
                ++count;
            }
        });
    for (std::thread& thread : threads)
        thread.join();
    EXPECT_EQ(count, 2000);
}

TEST(TurnTest, WhoWaitsCanGiveUp)
{
    Turn turn;
    turn.lock();
    int asked = 0;
    EXPECT_FALSE(turn.lock_while([&] { return ++asked < 3; }));
    EXPECT_EQ(asked, 3);
    turn.unlock();
    EXPECT_TRUE(turn.lock_while([] { return false; })); // free: nobody is asked
    turn.unlock();
}

} // namespace
} // namespace coppice
