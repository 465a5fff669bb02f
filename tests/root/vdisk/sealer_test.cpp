// Sealing beside everything else.

#include "snapshot_fixture.h"

#include <atomic>
#include <chrono>
#include <future>
#include <thread>

namespace coppice::vdisk::test {
namespace {

std::function<void(std::string_view)> at_step;

/// Does something at steps of a work, in its thread.
class AtStep {
public:
    AtStep(std::string step, std::function<void()> body)
    {
        at_step = [step = std::move(step), body = std::move(body)](std::string_view now) {
            if (now == step && body) body();
        };
        on_step = [](std::string_view now) { at_step(now); };
    }
    AtStep(const AtStep&) = delete;
    AtStep& operator=(const AtStep&) = delete;
    ~AtStep() { on_step = nullptr; }
};

class SealerTest : public SnapshotTest {
protected:
    /// A frozen snapshot of a branch of its own, which goes.
    SnapshotId frozen(const std::string& name)
    {
        value_of(node_->working.create(name, base_));
        in_layer(name, [&](const std::string& root) { write_text(root + "/etc/motd", noise(2'000'000, 3)); });
        const auto id = freeze(name);
        value_of(node_->working.remove(name));
        return id;
    }
};

TEST_F(SealerTest, ARemovalDoesNotWaitForTheSealOfAnother)
{
    const auto sealed = frozen("a"), removed = frozen("b");
    value_of(node_->working.create("c", base_));
    bool done = false;
    {
        const AtStep during{"seal written", [&] { // in the sealing thread: who waited for the seal would never return
                                if (done) return;
                                done = true;
                                EXPECT_TRUE(succeeds(node_->sealer.remove(removed)));
                                EXPECT_TRUE(succeeds(node_->sealer.sweep()));
                                EXPECT_TRUE(succeeds(node_->working.remove("c")));
                                EXPECT_EQ(value_of(node_->sealer.remove_sealed_directories()), 0U);
                            }};
        EXPECT_TRUE(succeeds(node_->sealer.seal(sealed)));
    }
    EXPECT_TRUE(done);
    EXPECT_EQ(state_of(sealed), store::SnapshotState::Sealed);
    EXPECT_FALSE(directory_.exists(cat("store/frozen/", removed.hex())));
    EXPECT_EQ(text_in(sealed, "etc/motd"), noise(2'000'000, 3));
}

TEST_F(SealerTest, WhatIsBeingSealedIsRemovedAtOnce)
{
    const auto id = frozen("a");
    std::thread remover;
    std::atomic<bool> removed = false;
    int asked = 0;
    const auto sealed = node_->sealer.seal(id, [&] {
        if (++asked == 1)
            remover = std::thread{[&] {
                value_of(node_->sealer.remove(id));
                removed = true;
            }};
        std::this_thread::sleep_for(std::chrono::milliseconds{200});
        EXPECT_FALSE(removed); // its directory is being read
        return true;
    });
    remover.join();
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "no snapshot", sealed));
    EXPECT_LT(asked, 8) << "the seal went on to its end";
    EXPECT_EQ(snapshots(), 0U);
    EXPECT_TRUE(succeeds(node_->sealer.sweep()));
    EXPECT_TRUE(fs::is_empty(directory_ / "store/frozen"));
    EXPECT_TRUE(value_of(node_->sealer.seal_all()).failed.empty());
}

TEST_F(SealerTest, WhoWaitsForTheSealOfAnotherCanBeStopped)
{
    const auto sealed = frozen("a"), waiting = frozen("b");
    std::future<Result<>> stopped;
    {
        const AtStep during{"seal written", [&] {
                                if (stopped.valid()) return;
                                stopped = std::async(std::launch::async,
                                                     [&] { return node_->sealer.seal(waiting, [] { return false; }); });
                                EXPECT_EQ(stopped.wait_for(std::chrono::seconds{10}), std::future_status::ready);
                            }};
        EXPECT_TRUE(succeeds(node_->sealer.seal(sealed)));
    }
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "was stopped", stopped.get()));
    EXPECT_EQ(state_of(waiting), store::SnapshotState::Frozen);
}

TEST_F(SealerTest, AMergeEndsWhileItSeals)
{
    const auto id = frozen("a");
    int asked = 0;
    EXPECT_TRUE(fails_as(
        ErrorKind::Unavailable, "enough",
        node_->trees.merge(id, {}, {.author = "tester", .message = "", .watch = [&](std::uint64_t) -> Result<> {
                                        if (++asked < 3) return {};
                                        return fail(ErrorKind::Unavailable, "enough");
                                    }})));
    EXPECT_EQ(state_of(id), store::SnapshotState::Frozen);
    EXPECT_TRUE(succeeds(node_->trees.merge(id, {}, {.author = "tester", .message = ""})));
}

TEST_F(SealerTest, WhatWasSealedMeanwhileIsNotLost)
{
    const auto id = frozen("a");
    bool done = false;
    const AtStep before{"durable begun", [&] {
                            done = true;
                            value_of(node_->sealer.seal(id));
                            EXPECT_EQ(value_of(node_->sealer.remove_sealed_directories()), 1U);
                        }};
    EXPECT_TRUE(succeeds(node_->sealer.make_durable(id)));
    EXPECT_TRUE(done);
    EXPECT_EQ(state_of(id), store::SnapshotState::Sealed);
}

} // namespace
} // namespace coppice::vdisk::test
