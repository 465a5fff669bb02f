#include "coppice/daemon/server.h"

#include "coppice/api/client.h"
#include "coppice/daemon/routes.h"
#include "coppice/os/file.h"
#include "coppice/os/unix_socket.h"
#include "openapi.h"
#include "routes/storage.h"

#include <coppice/base/json.h>
#include <coppice/test/child.h>
#include <coppice/test/expect.h>
#include <coppice/test/temp_dir.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <latch>
#include <set>
#include <sys/socket.h>
#include <sys/time.h>
#include <thread>
#include <unistd.h>

namespace coppice::daemon {
namespace {

using namespace std::chrono_literals;

/// The whole machine in this process: server, dispatcher, operations, and clients that talk to it.
class ServerTest : public testing::Test {
protected:
    ServerTest()
    {
        limits_.idle = 2s;
        limits_.header_time = 300ms;
        limits_.body_time = 300ms;
        limits_.write_time = 500ms;
        limits_.heartbeat = 100ms;
    }
    ~ServerTest() override
    {
        if (server_) end();
        operations_.reset();
    }

    void begin()
    {
        log_ = test::value_of(JournalOperationLog::open(directory_ / "operations"));
        answers_ = test::value_of(JournalAnswerStore::open(directory_ / "answers"));
        operations_ = test::value_of(Operations::open(*log_, events_, {}));
        services_.reset(new Services{.root = directory_.path(),
                                     .version = "test",
                                     .host = {},
                                     .operations = *operations_,
                                     .events = events_,
                                     .stop = [this] { server_->stop(); },
                                     .started = {}});
        auto routes = own_routes(*services_);
        routes.push_back({.method = Method::Post,
                          .path = "/v1/echo",
                          .id = "echo",
                          .body_schema = "Any",
                          .handler = [](const Request& request) { return Result<Reply>{Reply::json(request.body)}; }});
        routes.push_back({.method = Method::Get, .path = "/v1/big", .id = "big", .handler = [](const Request&) {
                              return Result<Reply>{Reply::json(std::string(8U << 20, 'x'))};
                          }});
        routes.push_back({.method = Method::Get, .path = "/v1/slow", .id = "slow", .handler = [](const Request&) {
                              std::this_thread::sleep_for(300ms);
                              return Result<Reply>{Reply::json({{"slow", true}})};
                          }});
        routes.push_back(
            {.method = Method::Get, .path = "/v1/endless", .id = "endless", .handler = [this](const Request& r) {
                 at_work_.count_down();
                 while (!r.stop.stop_requested())
                     std::this_thread::sleep_for(1ms);
                 was_stopped_ = true;
                 return Result<Reply>{Reply::json({})};
             }});
        routes.push_back({.method = Method::Get,
                          .path = "/v1/mistake",
                          .id = "mistake",
                          .handler = [](const Request&) -> Result<Reply> { throw std::runtime_error{"oh"}; }});
        dispatcher_ =
            std::make_unique<Dispatcher>(std::move(routes), *answers_, [](const nlohmann::json&) { return false; });
        std::vector<os::Fd> listeners;
        listeners.push_back(test::value_of(os::listen_stream(socket_, 0600)));
        server_ = test::value_of(Server::make(std::move(listeners), *dispatcher_, limits_));
        thread_ = std::thread{[this] { EXPECT_TRUE(test::succeeds(server_->run(patience_))); }};
    }
    void end()
    {
        server_->stop();
        if (thread_.joinable()) thread_.join();
        server_->end_handlers();
        operations_.reset();
        server_.reset();
    }

    Result<api::Client::Answer> call(std::string method, std::string target,
                                     std::optional<nlohmann::json> body = {}) const
    {
        return client_.call({.method = std::move(method),
                             .target = std::move(target),
                             .body = std::move(body),
                             .idempotency_key = {},
                             .if_match = {}});
    }
    os::Fd connect() const { return test::value_of(os::connect_stream(socket_)); }
    /// Sends bytes, and returns what comes until the other side closes.
    static std::string talk(const os::Fd& socket, std::string_view bytes)
    {
        const timeval patience{.tv_sec = 10, .tv_usec = 0};
        ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        [[maybe_unused]] const auto sent = ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
        std::string all(4U << 20, '\0');
        std::size_t size = 0;
        for (ssize_t got = 1; got > 0 && size < all.size(); size += static_cast<std::size_t>(std::max<ssize_t>(got, 0)))
            got = ::recv(socket.get(), all.data() + size, all.size() - size, 0);
        all.resize(size);
        return all;
    }
    std::string talk(std::string_view bytes) const { return talk(connect(), bytes); }

    test::TempDir directory_;
    std::string socket_ = directory_ / "s";
    api::Client client_{socket_};
    ServerLimits limits_;
    std::chrono::milliseconds patience_ = 5s;
    std::atomic<bool> was_stopped_ = false;
    std::latch at_work_{1};
    EventHub events_{64};
    std::unique_ptr<OperationLog> log_;
    std::unique_ptr<AnswerStore> answers_;
    std::unique_ptr<Operations> operations_;
    std::unique_ptr<Services> services_;
    std::unique_ptr<Dispatcher> dispatcher_;
    std::unique_ptr<Server> server_;
    std::thread thread_;
};

TEST_F(ServerTest, Answers)
{
    begin();
    EXPECT_EQ(test::value_of(call("GET", "/v1")).body.at("name"), "coppiced");
    const nlohmann::json body{{"a", {1, 2, "\u00e4"}}};
    EXPECT_EQ(test::value_of(call("POST", "/v1/echo", body)).body, body);
    EXPECT_TRUE(test::fails_as(ErrorKind::NotFound, "there is no /v1/x (see", call("GET", "/v1/x")));
    EXPECT_EQ(test::value_of(call("GET", "/v1/big")).body.get_ref<const std::string&>().size(), 8U << 20);
}

TEST_F(ServerTest, AMistakeInOneRequestIsNotTheEnd)
{
    begin();
    EXPECT_TRUE(test::fails_as(ErrorKind::Os, "coppiced made a mistake: oh", call("GET", "/v1/mistake")));
    EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "has no query parameter x", call("GET", "/v1?x=caf%E9")));
    EXPECT_TRUE(test::fails_as(ErrorKind::NotFound, "there is no /v1/caf", call("GET", "/v1/caf%E9")));
    EXPECT_TRUE(test::succeeds(call("GET", "/v1")));
}

TEST_F(ServerTest, AHandlerStopsWhenItsClientGoes)
{
    begin();
    {
        const auto socket = connect();
        constexpr std::string_view kAsked = "GET /v1/endless HTTP/1.1\r\nHost: x\r\n\r\n";
        ASSERT_EQ(::send(socket.get(), kAsked.data(), kAsked.size(), 0), static_cast<ssize_t>(kAsked.size()));
        at_work_.wait();
        ::shutdown(socket.get(), SHUT_WR); // it has only said all it has to say
        std::this_thread::sleep_for(50ms);
        EXPECT_FALSE(was_stopped_);
    }
    for (int i = 0; i < 500 && !was_stopped_; ++i)
        std::this_thread::sleep_for(10ms);
    EXPECT_TRUE(was_stopped_);
}

TEST_F(ServerTest, AHandlerThatTakesForEverDoesNotKeepTheServer)
{
    limits_.workers = 1;
    patience_ = 300ms;
    begin();
    std::thread client{[this] { EXPECT_FALSE(call("GET", "/v1/endless")); }};
    at_work_.wait();
    std::thread waiting{[this] { EXPECT_FALSE(call("GET", "/v1")); }}; // for the one worker
    std::this_thread::sleep_for(50ms);
    const auto began = std::chrono::steady_clock::now();
    end(); // the handler is asked to stop
    EXPECT_LT(std::chrono::steady_clock::now() - began, 3s);
    EXPECT_TRUE(was_stopped_);
    client.join();
    waiting.join();
}

TEST_F(ServerTest, KeepsAConnectionForSeveralRequests)
{
    begin();
    const auto heard = talk("GET /v1 HTTP/1.1\r\nHost: x\r\n\r\nHEAD /v1 HTTP/1.1\r\nHost: x\r\n\r\n"
                            "GET /v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_NE(heard.find("\"name\":\"coppiced\""), std::string::npos);
    const auto second = heard.find("HTTP/1.1 200 OK", 1);
    const auto third = heard.find("HTTP/1.1 404");
    ASSERT_NE(second, std::string::npos);
    ASSERT_NE(third, std::string::npos);
    EXPECT_EQ(heard.find("coppiced\",", second), std::string::npos) << "HEAD has no body";
    EXPECT_NE(heard.find("Content-Length: ", second), std::string::npos);
}

TEST_F(ServerTest, RefusesWhatIsNoRequest)
{
    begin();
    EXPECT_TRUE(talk("\x16\x03\x01 hello\r\n\r\n").starts_with("HTTP/1.1 400"));
    EXPECT_TRUE(talk("GET /v1 HTTP/2.0\r\n\r\n").starts_with("HTTP/1.1 505"));
    EXPECT_TRUE(talk("GET /v1 HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n").starts_with("HTTP/1.1 431"));
    EXPECT_TRUE(talk("POST /v1/echo HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n").starts_with("HTTP/1.1 413"));
    EXPECT_TRUE(talk("POST /v1/echo HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
                    .starts_with("HTTP/1.1 400"));
    EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "longer than 1048576 bytes",
                               call("POST", "/v1/echo", std::string(2U << 20, 'x'))));
}

TEST_F(ServerTest, AChunkedBodyHasTheSameLimit)
{
    begin();
    std::string text = "POST /v1/echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n";
    const std::string chunk = "10000\r\n" + std::string(65536, ' ') + "\r\n";
    for (int i = 0; i < 20; ++i)
        text += chunk;
    EXPECT_TRUE(talk(text).starts_with("HTTP/1.1 413"));
}

TEST_F(ServerTest, DropsWhoIsTooSlow)
{
    begin();
    const auto before = std::chrono::steady_clock::now();
    EXPECT_TRUE(talk("GET /v1 HTTP/1.1\r\nX: ").starts_with("HTTP/1.1 408"));
    EXPECT_TRUE(talk("POST /v1/echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").starts_with("HTTP/1.1 408"));
    EXPECT_EQ(talk(""), "") << "idle";
    EXPECT_LT(std::chrono::steady_clock::now() - before, 20s);
    // One that takes no answer costs nobody anything but its own connection.
    const auto greedy = connect();
    constexpr std::string_view kAsk = "GET /v1/big HTTP/1.1\r\nHost: x\r\n\r\n";
    ASSERT_EQ(::send(greedy.get(), kAsk.data(), kAsk.size(), 0), static_cast<ssize_t>(kAsk.size()));
    EXPECT_TRUE(test::succeeds(call("GET", "/v1")));
    std::this_thread::sleep_for(1500ms);
    std::size_t size = 0;
    std::string buffer(1U << 20, '\0');
    for (ssize_t got = 1; got > 0; size += static_cast<std::size_t>(std::max<ssize_t>(got, 0)))
        got = ::recv(greedy.get(), buffer.data(), buffer.size(), 0);
    EXPECT_LT(size, 8U << 20) << "it was cut off";
}

TEST_F(ServerTest, TurnsAwayMoreConnectionsThanItHasRoomFor)
{
    limits_.connections = 4;
    begin();
    std::vector<os::Fd> held;
    for (int i = 0; i < 4; ++i)
        held.push_back(connect());
    ASSERT_TRUE(test::wait_until([&] {
        const auto answer = call("GET", "/v1");
        return !answer && answer.error().kind() == ErrorKind::Unavailable;
    }));
    held.clear();
    EXPECT_TRUE(test::wait_until([&] { return call("GET", "/v1").has_value(); }));
}

TEST_F(ServerTest, ManyClientsAtOnce)
{
    begin();
    std::vector<std::thread> clients;
    std::atomic<int> good = 0;
    for (int i = 0; i < 50; ++i)
        clients.emplace_back([&, i] {
            for (int round = 0; round < 4; ++round) {
                const nlohmann::json body{{"client", i}, {"round", round}};
                const auto answer = call("POST", "/v1/echo", body);
                good += answer && answer->body == body;
            }
        });
    for (auto& client : clients)
        client.join();
    EXPECT_EQ(good, 200);
}

TEST_F(ServerTest, WaitsForOperationsWithoutAThreadEach)
{
    limits_.workers = 2;
    begin();
    std::latch go_on{1};
    const auto operation =
        test::value_of(operations_->start("test", "", [&](OperationContext& context) -> Result<nlohmann::json> {
            context.show({.done = 1, .total = 2, .unit = "files", .stage = "half"});
            go_on.wait();
            return nlohmann::json{{"made", "it"}};
        }));
    std::vector<std::thread> clients;
    std::atomic<int> good = 0;
    for (int i = 0; i < 20; ++i)
        clients.emplace_back([&] {
            const auto over = client_.wait(operation.id, {}, 20s);
            good += over && over->state == api::OperationState::Succeeded && over->result.at("made") == "it";
        });
    std::this_thread::sleep_for(200ms);
    EXPECT_TRUE(test::succeeds(call("GET", "/v1"))) << "the workers are free";
    go_on.count_down();
    for (auto& client : clients)
        client.join();
    EXPECT_EQ(good, 20);
    EXPECT_TRUE(test::fails_as(ErrorKind::NotFound, "no operation", client_.wait("nothing", {}, 5s)));
}

TEST_F(ServerTest, CancelsWithPrecondition)
{
    begin();
    const auto operation =
        test::value_of(operations_->start("test", "", [](OperationContext& context) -> Result<nlohmann::json> {
            while (!context.stop().stop_requested())
                std::this_thread::sleep_for(1ms);
            return fail(ErrorKind::Unavailable, "stopped");
        }));
    const std::string target = "/v1/operations/" + operation.id;
    EXPECT_TRUE(test::fails_as(
        ErrorKind::Conflict, "has been changed",
        client_.call(
            {.method = "DELETE", .target = target, .body = {}, .idempotency_key = {}, .if_match = "\"old\""})));
    EXPECT_TRUE(test::succeeds(call("DELETE", target)));
    EXPECT_EQ(test::value_of(client_.wait(operation.id, {}, 10s)).state, api::OperationState::Cancelled);
}

TEST_F(ServerTest, TellsEventsFromWhereAClientWas)
{
    begin();
    events_.publish("first", "", {});
    const auto after = events_.last_id();
    events_.publish("second", "", {{"n", 2}});
    std::vector<std::string> heard;
    std::thread publisher{[&] {
        std::this_thread::sleep_for(300ms);
        events_.publish("third", "", {});
    }};
    EXPECT_TRUE(test::succeeds(client_.follow_events(after, [&](const api::Event& event) {
        heard.push_back(event.type);
        return event.type != "third";
    })));
    publisher.join();
    EXPECT_EQ(heard, (std::vector<std::string>{"second", "third"}));
}

TEST_F(ServerTest, ASlowConsumerIsToldAndDropped)
{
    begin();
    const auto slow = connect();
    constexpr std::string_view kAsk = "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n";
    ASSERT_EQ(::send(slow.get(), kAsk.data(), kAsk.size(), 0), static_cast<ssize_t>(kAsk.size()));
    std::array<char, 16> beginning{};
    ASSERT_GT(::recv(slow.get(), beginning.data(), beginning.size(), 0), 0); // it listens from here on
    const nlohmann::json large{{"x", std::string(4096, 'x')}};
    for (int i = 0; i < 400; ++i)
        events_.publish("many", "", large); // the ring holds 64, the socket's buffer about 50
    const auto heard = talk(slow, "");
    EXPECT_NE(heard.find("event: events.lost"), std::string::npos);
}

TEST_F(ServerTest, AStopFinishesWhatRunsAndEndsWhatWaits)
{
    begin();
    std::latch started{1};
    const auto operation =
        test::value_of(operations_->start("test", "", [&](OperationContext& context) -> Result<nlohmann::json> {
            started.count_down();
            while (!context.stop().stop_requested())
                std::this_thread::sleep_for(1ms);
            return fail(ErrorKind::Unavailable, "stopped");
        }));
    started.wait();
    std::thread slow{[&] { EXPECT_EQ(test::value_of(call("GET", "/v1/slow")).body.at("slow"), true); }};
    std::thread waiting{[&] {
        EXPECT_EQ(test::value_of(call("GET", "/v1/operations/" + operation.id + "/wait")).body.at("state"), "running");
    }};
    const auto idle = connect();
    std::this_thread::sleep_for(100ms);
    const auto before = std::chrono::steady_clock::now();
    server_->stop();
    thread_.join();
    EXPECT_LT(std::chrono::steady_clock::now() - before, 3s);
    slow.join();
    waiting.join();
    EXPECT_EQ(talk(idle, ""), "");
    EXPECT_TRUE(test::fails_as(ErrorKind::Conflict, "cannot reach coppiced", call("GET", "/v1")));
}

TEST_F(ServerTest, AnUnreachableDaemonIsAClearError)
{
    const auto nobody = api::Client{directory_ / "nothing"}.call({});
    EXPECT_TRUE(test::fails_as(ErrorKind::NotFound, "cannot reach coppiced: connect to ", nobody));
    EXPECT_TRUE(test::fails_as(ErrorKind::NotFound, "start it with", nobody));
}

/// The router's table and the document that is served say the same.
TEST_F(ServerTest, DocumentAndTableAgree)
{
    begin();
    Services& services = *services_;
    const auto document = test::value_of(parse_json(kOpenApi));
    std::set<std::string> in_table, in_document;
    const auto listed = [](const std::set<std::string>& names) {
        std::string text;
        for (const std::string& name : names)
            text += " " + name;
        return text;
    };
    const auto enter = [&](const auto& route) {
        std::string word{word_of(route.method)};
        std::transform(word.begin(), word.end(), word.begin(), [](char c) { return static_cast<char>(c - 'A' + 'a'); });
        std::set<std::string> parameters{route.query.begin(), route.query.end()};
        if (route.conditional) parameters.insert("If-Match");
        if (route.method != Method::Get) parameters.insert("Idempotency-Key");
        in_table.insert(word + " " + route.path + " " + route.id + " body:" + route.body_schema +
                        (route.long_running ? " operation" : " answer") + " " + route.type + listed(parameters));
    };
    for (const Route& route : own_routes(services))
        enter(route);
    for (const StorageRow& row : storage_rows())
        enter(row);
    for (const auto& [path, item] : document.at("paths").items())
        for (const auto& [method, operation] : item.items()) {
            if (method == "parameters") continue;
            std::string schema;
            if (operation.contains("requestBody"))
                schema =
                    operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].get<std::string>().substr(
                        std::string_view{"#/components/schemas/"}.size());
            std::string status; // the first of those that say that it went well
            for (const char* const one : {"200", "201", "204", "202"})
                if (status.empty() && operation["responses"].contains(one)) status = one;
            ASSERT_FALSE(status.empty()) << path;
            const auto& answer = operation["responses"][status];
            std::set<std::string> parameters;
            for (const auto& parameter : operation.value("parameters", nlohmann::json::array()))
                parameters.insert(parameter["name"].get<std::string>());
            for (const char* const of_gets : {"If-None-Match", "Last-Event-ID"})
                if (method == "get") parameters.erase(of_gets); // these are of the answer, not of the route
            in_document.insert(method + " " + path + " " + operation["operationId"].get<std::string>() +
                               " body:" + schema + (status == "202" ? " operation" : " answer") + " " +
                               (status == "204" ? "application/json" : answer["content"].begin().key()) +
                               listed(parameters));
        }
    EXPECT_EQ(in_table, in_document);
}

} // namespace
} // namespace coppice::daemon
