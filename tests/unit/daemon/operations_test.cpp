#include "coppice/daemon/operations.h"

#include <coppice/test/child.h>
#include <coppice/test/expect.h>
#include <coppice/test/temp_dir.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace coppice::daemon {
namespace {

using api::OperationState;

class OperationsTest : public testing::Test {
protected:
    OperationsTest() { open({}); }

    void open(Operations::Limits limits)
    {
        operations_.reset();
        log_ = test::value_of(JournalOperationLog::open(directory_ / "operations"));
        operations_ = test::value_of(Operations::open(*log_, events_, limits));
    }
    api::Operation end_of(const std::string& id)
    {
        EXPECT_TRUE(test::wait_until([&] { return api::is_over(operations_->find(id)->state); }));
        return *operations_->find(id);
    }
    std::string start(Operations::Work work)
    {
        return test::value_of(operations_->start("test", "/v1/x", std::move(work))).id;
    }
    /// Runs until it is told to stop.
    static Result<nlohmann::json> work_until_stopped(OperationContext& context)
    {
        while (!context.stop().stop_requested())
            std::this_thread::sleep_for(std::chrono::milliseconds{1});
        return fail(ErrorKind::Unavailable, "stopped");
    }

    test::TempDir directory_;
    EventHub events_;
    std::unique_ptr<OperationLog> log_;
    std::unique_ptr<Operations> operations_;
};

TEST_F(OperationsTest, AMistakeFailsOnlyTheOperation)
{
    const auto bad = end_of(start([](OperationContext&) -> Result<nlohmann::json> { throw std::runtime_error{"oh"}; }));
    EXPECT_EQ(bad.state, OperationState::Failed);
    EXPECT_NE(bad.error->line().find("coppiced made a mistake: oh"), std::string::npos);
    EXPECT_EQ(end_of(start([](OperationContext&) { return Result<nlohmann::json>{1}; })).state,
              OperationState::Succeeded);
}

TEST_F(OperationsTest, AJournalOfAnyLengthIsOwnAndIsRead)
{
    const std::string much(23U << 20, 'x');
    for (int i = 0; i < 3; ++i) // more than 64 MiB
        end_of(start([&](OperationContext&) { return Result<nlohmann::json>{much}; }));
    open({});
    EXPECT_EQ(operations_->list().size(), 3U);
    EXPECT_EQ(operations_->list().back().result, much);
    for (const auto& event : events_.after(0, 100).events)
        EXPECT_LT(nlohmann::json(event.data).dump().size(), 1000U) << "results are for who asks";
}

TEST_F(OperationsTest, SucceedsAndFails)
{
    const auto good =
        end_of(start([](OperationContext&) { return Result<nlohmann::json>{nlohmann::json{{"made", 1}}}; }));
    EXPECT_EQ(good.state, OperationState::Succeeded);
    EXPECT_EQ(good.result, (nlohmann::json{{"made", 1}}));
    EXPECT_FALSE(good.error);
    const auto bad = end_of(start(
        [](OperationContext&) -> Result<nlohmann::json> { return fail(Error{ErrorKind::Corrupt, "no"}.hint("h")); }));
    EXPECT_EQ(bad.state, OperationState::Failed);
    EXPECT_EQ(bad.error->line(), "no (h)");
    EXPECT_FALSE(bad.started.empty());
    EXPECT_LE(bad.started, bad.ended);
}

TEST_F(OperationsTest, ShowsProgressButNotTooOften)
{
    const auto before = events_.last_id();
    std::latch shown{1}, go_on{1};
    const auto id = start([&](OperationContext& context) -> Result<nlohmann::json> {
        for (std::uint64_t i = 0; i < 10'000; ++i)
            context.show({.done = i, .total = 10'000, .unit = "files", .stage = "one"});
        context.show({.done = 1, .total = 2, .unit = "files", .stage = "two"});
        shown.count_down();
        go_on.wait();
        return nlohmann::json{};
    });
    shown.wait();
    EXPECT_EQ(operations_->find(id)->progress.stage, "two");
    go_on.count_down();
    end_of(id);
    std::size_t told = 0;
    for (const auto& event : events_.after(before, 1000).events)
        told += event.type == "operation.progress";
    EXPECT_GE(told, 2U);
    EXPECT_LE(told, 60U) << "five a second and each stage";
}

TEST_F(OperationsTest, CancelsWhatRunsAndWhatWaits)
{
    open({.running = 1, .waiting = 10, .history = 10});
    const auto running = start(work_until_stopped);
    const auto waiting = start(work_until_stopped);
    ASSERT_TRUE(test::wait_until([&] { return operations_->find(running)->state == OperationState::Running; }));
    EXPECT_EQ(test::value_of(operations_->cancel(waiting)).state, OperationState::Cancelled);
    ASSERT_TRUE(test::succeeds(operations_->cancel(running)));
    EXPECT_EQ(end_of(running).state, OperationState::Cancelled);
    EXPECT_TRUE(test::fails_as(ErrorKind::Conflict, "over already: cancelled", operations_->cancel(running)));
    EXPECT_TRUE(test::fails_as(ErrorKind::NotFound, "no operation", operations_->cancel("x")));
}

TEST_F(OperationsTest, WorkThatWasDoneAnywayHasSucceeded)
{
    std::latch entered{1}, go_on{1};
    const auto id = start([&](OperationContext&) -> Result<nlohmann::json> {
        entered.count_down();
        go_on.wait();
        return nlohmann::json{};
    });
    entered.wait();
    ASSERT_TRUE(test::succeeds(operations_->cancel(id)));
    go_on.count_down();
    EXPECT_EQ(end_of(id).state, OperationState::Succeeded);
}

TEST_F(OperationsTest, RunsNoMoreAtOnceThanAllowed)
{
    open({.running = 2, .waiting = 3, .history = 100});
    std::atomic<int> now = 0, most = 0;
    std::latch go_on{1};
    const auto work = [&](OperationContext&) -> Result<nlohmann::json> {
        const int count = ++now;
        int known = most;
        while (count > known && !most.compare_exchange_weak(known, count)) {
        }
        go_on.wait();
        --now;
        return nlohmann::json{};
    };
    std::vector<std::string> ids{start(work), start(work)};
    ASSERT_TRUE(test::wait_until([&] { return now == 2; }));
    for (int i = 0; i < 3; ++i)
        ids.push_back(start(work));
    EXPECT_TRUE(test::fails_as(ErrorKind::Unavailable, "waiting already", operations_->start("t", "", work)));
    go_on.count_down();
    for (const auto& id : ids)
        EXPECT_EQ(end_of(id).state, OperationState::Succeeded);
    EXPECT_EQ(most, 2);
}

TEST_F(OperationsTest, AnEndInterruptsAndTheNextLifeKnows)
{
    open({.running = 1, .waiting = 10, .history = 10});
    const auto done = start([](OperationContext&) -> Result<nlohmann::json> { return nlohmann::json{{"n", 1}}; });
    end_of(done);
    const auto running = start(work_until_stopped);
    const auto waiting = start(work_until_stopped);
    ASSERT_TRUE(test::wait_until([&] { return operations_->find(running)->state == OperationState::Running; }));
    EXPECT_TRUE(operations_->shut_down(std::chrono::seconds{10}));
    EXPECT_TRUE(test::fails_as(ErrorKind::Unavailable, "ending", operations_->start("t", "", work_until_stopped)));
    for (int life = 0; life < 2; ++life) {
        open({});
        EXPECT_EQ(operations_->find(done)->result, (nlohmann::json{{"n", 1}}));
        EXPECT_EQ(operations_->find(running)->state, OperationState::Interrupted);
        EXPECT_EQ(operations_->find(waiting)->state, OperationState::Interrupted);
    }
}

TEST_F(OperationsTest, AKilledDaemonLeavesInterruptedOnesAndMaybeHalfALine)
{
    operations_.reset();
    log_.reset();
    api::Operation operation;
    operation.id = "0a";
    operation.kind = "k";
    operation.state = OperationState::Running;
    test::write_text(directory_ / "operations", api::to_json(operation).dump() + "\n{\"id\":\"0b\",\"ki");
    open({});
    ASSERT_EQ(operations_->list().size(), 1U);
    EXPECT_EQ(operations_->find("0a")->state, OperationState::Interrupted);
    EXPECT_EQ(operations_->find("0a")->error->kind(), ErrorKind::Unavailable);
}

TEST_F(OperationsTest, ADamagedLogIsRefused)
{
    operations_.reset();
    log_.reset();
    test::write_text(directory_ / "operations", "{\"id\n{}\n");
    EXPECT_TRUE(test::fails_as(ErrorKind::Corrupt, "line 1", JournalOperationLog::open(directory_ / "operations")));
}

TEST_F(OperationsTest, HistoryIsBounded)
{
    open({.running = 2, .waiting = 100, .history = 8});
    std::string last;
    for (int i = 0; i < 40; ++i) {
        last = start([](OperationContext&) -> Result<nlohmann::json> { return nlohmann::json{}; });
        end_of(last);
    }
    EXPECT_LE(operations_->list().size(), 10U);
    EXPECT_TRUE(operations_->find(last));
    open({});
    EXPECT_LE(operations_->list().size(), 12U);
    EXPECT_TRUE(operations_->find(last));
}

} // namespace
} // namespace coppice::daemon
