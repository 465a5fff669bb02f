#include "coppice/daemon/dispatcher.h"

#include "coppice/api/problem.h"
#include "coppice/base/text.h"

#include <coppice/test/expect.h>
#include <coppice/test/temp_dir.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <unistd.h>

namespace coppice::daemon {
namespace {

class DispatcherTest : public testing::Test {
protected:
    DispatcherTest()
    {
        const auto add = [this](Method method, const char* path, Verb verb, const char* schema, Handler handler) {
            routes_.push_back({.method = method,
                               .path = path,
                               .id = path,
                               .verb = verb,
                               .body_schema = schema,
                               .handler = std::move(handler)});
        };
        add(Method::Get, "/thing", Verb::Read, "",
            [](const Request&) { return Result<Reply>{Reply::json({{"a", 1}}, "\"v1\"")}; });
        add(Method::Put, "/thing", Verb::Change, "Thing", [this](const Request& request) -> Result<Reply> {
            if (auto refused = check_preconditions(request, "\"v1\"")) return *std::move(refused);
            ++changes_;
            return Reply::json(request.body, "\"v2\"");
        });
        add(Method::Post, "/count", Verb::Change, "", [this](const Request&) -> Result<Reply> {
            const int count = ++changes_;
            if (count == fail_at_) return fail(ErrorKind::Unavailable, "not now");
            return Reply::json({{"count", count}});
        });
        add(Method::Post, "/slow", Verb::Change, "", [this](const Request&) -> Result<Reply> {
            if (!is_slow_.exchange(false)) return Reply::json({{"count", ++changes_}});
            entered_.count_down();
            go_on_.wait();
            return Reply::json({{"count", ++changes_}});
        });
        add(Method::Post, "/begin", Verb::Change, "", [this](const Request&) -> Result<Reply> {
            Reply reply = Reply::json({{"id", cat(++changes_)}});
            reply.status = 202;
            reply.headers["Location"] = cat("/v1/operations/", changes_.load());
            return reply;
        });
        for (Route& route : routes_)
            route.conditional = route.method == Method::Put;
        store_ = test::value_of(JournalAnswerStore::open(directory_ / "answers", 10));
        dispatcher_ =
            std::make_unique<Dispatcher>(routes_, *store_, [this](const nlohmann::json&) { return is_lost_.load(); });
    }

    Reply ask(std::string method, std::string target, std::string body = {}, RawRequest raw = {})
    {
        raw.method = std::move(method);
        raw.target = std::move(target);
        raw.body = std::move(body);
        if (raw.content_type.empty() && !raw.body.empty()) raw.content_type = "application/json; charset=utf-8";
        if (raw.identity.pid == 0) raw.identity = {.uid = ::geteuid(), .pid = 1};
        return dispatcher_->handle(raw);
    }
    Reply ask_with_key(std::string key, std::string method = "POST", std::string target = "/count",
                       std::string body = {})
    {
        RawRequest raw;
        raw.idempotency_key = std::move(key);
        return ask(std::move(method), std::move(target), std::move(body), raw);
    }
    static std::string type_of(const Reply& reply) { return reply.body.value("type", ""); }

    test::TempDir directory_;
    std::vector<Route> routes_;
    std::unique_ptr<AnswerStore> store_;
    std::unique_ptr<Dispatcher> dispatcher_;
    std::atomic<int> changes_ = 0;
    std::atomic<bool> is_slow_ = true;  ///< the first of /slow waits
    std::atomic<bool> is_lost_ = false; ///< what /begin began
    int fail_at_ = -1;
    std::latch entered_{1}, go_on_{1};
};

TEST_F(DispatcherTest, OnlyRootAndTheOwnUserMayAsk)
{
    RawRequest stranger;
    stranger.identity = {.uid = 12345, .pid = 7};
    for (const char* const target : {"/thing", "/there/is/no/such/path"}) {
        const auto reply = ask("GET", target, "", stranger);
        EXPECT_EQ(reply.status, 403) << target;
        EXPECT_EQ(type_of(reply), "urn:coppice:error:denied");
        EXPECT_NE(reply.body.value("hint", ""), "");
    }
    EXPECT_EQ(ask("POST", "/count", "", stranger).status, 403);
    EXPECT_EQ(changes_, 0);
    RawRequest root;
    root.identity = {.uid = 0, .pid = 7};
    EXPECT_EQ(ask("GET", "/thing", "", root).status, 200);
}

TEST_F(DispatcherTest, MethodsAndPaths)
{
    EXPECT_EQ(ask("GET", "/thing").status, 200);
    EXPECT_EQ(ask("HEAD", "/thing").status, 200);
    EXPECT_EQ(ask("GET", "/nothing").status, 404);
    const auto other = ask("DELETE", "/thing");
    EXPECT_EQ(other.status, 405);
    EXPECT_EQ(other.headers.at("Allow"), "GET, HEAD, PUT, OPTIONS");
    EXPECT_EQ(ask("BREW", "/thing").status, 405);
    const auto options = ask("OPTIONS", "/thing");
    EXPECT_EQ(options.status, 204);
    EXPECT_EQ(options.headers.at("Allow"), "GET, HEAD, PUT, OPTIONS");
    EXPECT_EQ(ask("GET", "/a//b").status, 400);
}

TEST_F(DispatcherTest, WhatTheClientTakesAndSends)
{
    RawRequest raw;
    raw.accept = "text/html";
    EXPECT_EQ(ask("GET", "/thing", "", raw).status, 406);
    EXPECT_EQ(ask("POST", "/count", "", raw).status, 406);
    EXPECT_EQ(changes_, 0) << "refused, so nothing may have happened";
    for (const char* const accept : {"*/*", "application/*;q=0.1", "text/html, application/json", "APPLICATION/JSON"}) {
        raw.accept = accept;
        EXPECT_EQ(ask("GET", "/thing", "", raw).status, 200) << accept;
    }
    raw.accept = "application/json;q=0";
    EXPECT_EQ(ask("GET", "/thing", "", raw).status, 406);
    RawRequest text;
    text.content_type = "text/plain";
    EXPECT_EQ(ask("PUT", "/thing", "{}", text).status, 415);
    EXPECT_EQ(ask("PUT", "/thing", "{").status, 400);
    EXPECT_EQ(ask("PUT", "/thing").status, 400);
    EXPECT_EQ(ask("POST", "/count", "{}").status, 400);
    EXPECT_EQ(changes_, 0);
}

TEST_F(DispatcherTest, Preconditions)
{
    RawRequest raw;
    raw.if_none_match = "\"v0\", W/\"v1\"";
    const auto known = ask("GET", "/thing", "", raw);
    EXPECT_EQ(known.status, 304);
    EXPECT_TRUE(known.body.is_null());
    EXPECT_EQ(known.etag, "\"v1\"");
    RawRequest old;
    old.if_match = "\"v0\"";
    EXPECT_EQ(ask("PUT", "/thing", "{}", old).status, 412);
    EXPECT_EQ(changes_, 0);
    old.if_match = "\"v1\"";
    EXPECT_EQ(ask("PUT", "/thing", "{}", old).status, 200);
    old.if_match = "W/\"v1\"";
    EXPECT_EQ(ask("PUT", "/thing", "{}", old).status, 412) << "weak tags never match for If-Match";
    RawRequest fresh;
    fresh.if_none_match = "*";
    EXPECT_EQ(ask("PUT", "/thing", "{}", fresh).status, 412);
    EXPECT_EQ(changes_, 1);
}

TEST_F(DispatcherTest, ListsOfEntityTags)
{
    EXPECT_TRUE(lists_etag("*", "\"a\"", false));
    EXPECT_FALSE(lists_etag("*", "", false));
    EXPECT_TRUE(lists_etag(" \"x,y\" , \"a\"", "\"a\"", false));
    EXPECT_FALSE(lists_etag("a", "\"a\"", false));
    EXPECT_FALSE(lists_etag("\"a", "\"a\"", false));
    EXPECT_FALSE(lists_etag("x\"a\"", "\"a\"", false));
    EXPECT_FALSE(lists_etag("\"b\" \"a\"", "\"a\"", false));
}

TEST_F(DispatcherTest, ARepeatedRequestGetsTheFirstAnswer)
{
    const auto first = ask_with_key("k1");
    const auto again = ask_with_key("k1");
    EXPECT_EQ(first.body, (nlohmann::json{{"count", 1}}));
    EXPECT_EQ(again.body, first.body);
    EXPECT_EQ(again.headers.at("Idempotent-Replayed"), "true");
    EXPECT_EQ(ask_with_key("k2").body, (nlohmann::json{{"count", 2}}));
    EXPECT_EQ(changes_, 2);
    // Also by the next daemon.
    store_ = test::value_of(JournalAnswerStore::open(directory_ / "answers", 10));
    dispatcher_ =
        std::make_unique<Dispatcher>(routes_, *store_, [this](const nlohmann::json&) { return is_lost_.load(); });
    EXPECT_EQ(ask_with_key("k1").body, first.body);
    EXPECT_EQ(changes_, 2);
}

TEST_F(DispatcherTest, AKeyBelongsToOneRequest)
{
    EXPECT_EQ(ask_with_key("k", "PUT", "/thing", R"({"a":1})").status, 200);
    EXPECT_EQ(ask_with_key("k", "PUT", "/thing", R"({"a":2})").status, 422);
    EXPECT_EQ(ask_with_key("k").status, 422);
    EXPECT_EQ(ask_with_key("k", "PUT", "/thing", R"( {"a" : 1} )").status, 200) << "the same JSON, written otherwise";
    EXPECT_EQ(changes_, 1);
    EXPECT_EQ(ask_with_key("a b").status, 400);
    EXPECT_EQ(ask_with_key(std::string(129, 'x')).status, 400);
}

TEST_F(DispatcherTest, AnOperationThatFailedIsBegunAnew)
{
    EXPECT_EQ(ask_with_key("k", "POST", "/begin").headers.at("Location"), "/v1/operations/1");
    const auto again = ask_with_key("k", "POST", "/begin");
    ASSERT_TRUE(again.headers.contains("Location")) << "a repeated answer has all its headers";
    EXPECT_EQ(again.headers.at("Location"), "/v1/operations/1");
    EXPECT_EQ(again.headers.at("Idempotent-Replayed"), "true");
    is_lost_ = true;
    EXPECT_EQ(ask_with_key("k", "POST", "/begin").body.at("id"), "2");
    is_lost_ = false;
    EXPECT_EQ(ask_with_key("k", "POST", "/begin").body.at("id"), "2");
}

TEST_F(DispatcherTest, APreconditionThatDidNotHoldIsNotKept)
{
    RawRequest raw;
    raw.idempotency_key = "k";
    raw.if_match = "\"v0\"";
    EXPECT_EQ(ask("PUT", "/thing", R"({"a":1})", raw).status, 412);
    raw.if_match = "\"v1\"";
    EXPECT_EQ(ask("PUT", "/thing", R"({"a":1})", raw).status, 200);
    EXPECT_EQ(changes_, 1);
}

TEST_F(DispatcherTest, WhatWouldCountForNothingIsRefused)
{
    RawRequest raw;
    raw.if_match = "\"v1\"";
    EXPECT_EQ(ask("POST", "/count", "", raw).status, 400);
    EXPECT_EQ(ask("POST", "/count?more=1").status, 400);
    EXPECT_EQ(changes_, 0);
}

TEST_F(DispatcherTest, AnAnswerSurvivesWithItsHeaders)
{
    const Answered answered{.request = "r",
                            .status = 201,
                            .body = {{"a", "caf\xe9"}}, // no UTF-8
                            .etag = {},
                            .type = {},
                            .headers = {{"Location", "/v1/things/1"}}};
    EXPECT_TRUE(test::succeeds(store_->put("0:k", answered)));
    store_ = test::value_of(JournalAnswerStore::open(directory_ / "answers", 10));
    EXPECT_EQ(test::value_of(store_->find("0:k"))->headers, answered.headers);
}

TEST_F(DispatcherTest, KeysOfDifferentUsersAreDifferent)
{
    RawRequest raw;
    raw.idempotency_key = "k";
    raw.identity = {.uid = 0, .pid = 1};
    EXPECT_EQ(ask("POST", "/count", "", raw).status, 200);
    EXPECT_TRUE(test::value_of(store_->find("0:k")));
    EXPECT_FALSE(test::value_of(store_->find("1:k")));
}

TEST_F(DispatcherTest, AFailureOfOursIsNotKept)
{
    fail_at_ = 1;
    EXPECT_EQ(ask_with_key("k").status, 503);
    EXPECT_EQ(ask_with_key("k").status, 200);
}

TEST_F(DispatcherTest, OneAtATimeForAKey)
{
    std::thread first{[this] { EXPECT_EQ(ask_with_key("k", "POST", "/slow").status, 200); }};
    entered_.wait();
    EXPECT_EQ(ask_with_key("k", "POST", "/slow").status, 409);
    go_on_.count_down();
    first.join();
    EXPECT_EQ(changes_, 1);
}

TEST_F(DispatcherTest, TheStoreKeepsTheNewest)
{
    for (int i = 0; i < 30; ++i)
        EXPECT_EQ(ask_with_key("k" + std::to_string(i)).status, 200);
    store_ = test::value_of(JournalAnswerStore::open(directory_ / "answers", 10));
    EXPECT_TRUE(test::value_of(store_->find(std::to_string(::geteuid()) + ":k29")));
    EXPECT_FALSE(test::value_of(store_->find(std::to_string(::geteuid()) + ":k5")));
}

TEST_F(DispatcherTest, HalfAnAnswerOfAKilledDaemonIsForgotten)
{
    const std::string path = directory_ / "torn";
    test::write_text(path, "{\"key\":\"0:a\",\"requ");
    for (int life = 0; life < 2; ++life) {
        const auto store = test::value_of(JournalAnswerStore::open(path));
        EXPECT_FALSE(test::value_of(store->find("0:a")));
        EXPECT_EQ(test::value_of(store->find("0:b")).has_value(), life == 1);
        EXPECT_TRUE(test::succeeds(
            store->put("0:b", {.request = "r", .status = 200, .body = {}, .etag = "", .type = "application/json"})));
    }
}

TEST_F(DispatcherTest, RequestIds)
{
    RawRequest raw;
    raw.request_id = "my-request.1";
    const auto named = ask("GET", "/nothing", "", raw);
    EXPECT_EQ(named.headers.at("X-Request-Id"), "my-request.1");
    EXPECT_EQ(named.body.at("instance"), "urn:coppice:request:my-request.1");
    raw.request_id = "x\r\ny";
    EXPECT_EQ(ask("GET", "/thing", "", raw).headers.at("X-Request-Id").size(), 16U);
}

} // namespace
} // namespace coppice::daemon
