#include "coppice/os/systemd_scope.h"

#include "coppice/base/text.h"
#include "coppice/os/unix_socket.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace coppice::os {
namespace {

using dbus::Message;
using dbus::MessageType;
using dbus::Property;

TEST(ScopeNameTest, IsReadAsClientsWriteIt)
{
    EXPECT_EQ(parse_scope_name("machine.slice:libpod:12ab", "x", false).value(),
              (ScopeName{"machine.slice", "libpod-12ab.scope"}));
    EXPECT_EQ(parse_scope_name(":docker:12ab", "x", false).value(), (ScopeName{"system.slice", "docker-12ab.scope"}));
    EXPECT_EQ(parse_scope_name(":docker:12ab", "x", true).value(), (ScopeName{"user.slice", "docker-12ab.scope"}));
    EXPECT_EQ(parse_scope_name("a-b.slice::12ab", "x", false).value(), (ScopeName{"a-b.slice", "12ab.scope"}));
    EXPECT_EQ(parse_scope_name("", "x", false).value(), (ScopeName{"system.slice", "coppice-x.scope"}));
    for (const char* const bad :
         {"/a/b", "a:b", "a.slice:b:c:d", "a:b:c", "a.slice:b:", "a.slice:b:c.slice", "a/b.slice:c:d", ":a:b/c"})
        EXPECT_FALSE(parse_scope_name(bad, "x", false)) << bad;
}

TEST(ScopeNameTest, SlicesLieInEachOther)
{
    EXPECT_EQ(slice_path("machine.slice").value(), "/machine.slice");
    EXPECT_EQ(slice_path("a-b-c.slice").value(), "/a.slice/a-b.slice/a-b-c.slice");
    EXPECT_EQ(slice_path("-.slice").value(), "");
    for (const char* const bad : {"", ".slice", "a", "a--b.slice", "-a.slice", "a-.slice", "../a.slice", "a/b.slice"})
        EXPECT_FALSE(slice_path(bad)) << bad;
}

/// At a creation.
auto scope_properties(const CgroupLimits& limits) { return os::scope_properties(limits, limits); }

Property find(const std::vector<Property>& properties, const char* name)
{
    for (const Property& property : properties)
        if (property.name == name) return property;
    return {};
}

TEST(ScopePropertiesTest, SayWhatTheCgroupFilesSay)
{
    const auto properties = scope_properties({.memory_bytes = 64 << 20,
                                              .memory_swap_bytes = 96 << 20,
                                              .memory_low_bytes = 1 << 20,
                                              .pids = -1,
                                              .cpu_shares = 1024,
                                              .cpu_quota_us = 12'345,
                                              .cpu_period_us = 50'000,
                                              .cpuset_cpus = "0-2,9",
                                              .cpuset_mems = "0"})
                                .value();
    EXPECT_EQ(find(properties, "MemoryMax").value, dbus::Value{std::uint64_t{64 << 20}});
    EXPECT_EQ(find(properties, "MemorySwapMax").value, dbus::Value{std::uint64_t{32 << 20}});
    EXPECT_EQ(find(properties, "MemoryLow").value, dbus::Value{std::uint64_t{1 << 20}});
    EXPECT_EQ(find(properties, "TasksMax").value, dbus::Value{UINT64_MAX});
    EXPECT_EQ(find(properties, "CPUWeight").value, dbus::Value{std::uint64_t{39}});
    EXPECT_EQ(find(properties, "CPUQuotaPerSecUSec").value, dbus::Value{std::uint64_t{250'000}}); // whole percents, up
    EXPECT_EQ(find(properties, "CPUQuotaPeriodUSec").value, dbus::Value{std::uint64_t{50'000}});
    EXPECT_EQ(find(properties, "AllowedCPUs").value, (dbus::Value{std::vector<std::uint8_t>{7, 2}}));
    EXPECT_EQ(find(properties, "AllowedMemoryNodes").value, (dbus::Value{std::vector<std::uint8_t>{1}}));
    EXPECT_TRUE(scope_properties({}).value().empty());
    EXPECT_FALSE(scope_properties({.cpuset_cpus = "3-1"}));
    EXPECT_FALSE(scope_properties({.cpuset_cpus = "0-99999999"}));
}

TEST(ScopePropertiesTest, AnUpdateKeepsWhatItDoesNotName)
{
    const CgroupLimits all{
        .memory_bytes = 48 << 20, .memory_swap_bytes = 96 << 20, .cpu_quota_us = 5000, .cpu_period_us = 20'000};
    const auto memory = os::scope_properties({.memory_bytes = 48 << 20}, all).value();
    EXPECT_EQ(find(memory, "MemorySwapMax").value, dbus::Value{std::uint64_t{48 << 20}}); // the two together stay
    EXPECT_EQ(memory.size(), 2U);
    const auto quota = os::scope_properties({.cpu_quota_us = 5000}, all).value();
    EXPECT_EQ(find(quota, "CPUQuotaPerSecUSec").value, dbus::Value{std::uint64_t{250'000}});
    EXPECT_EQ(find(quota, "CPUQuotaPeriodUSec").value, dbus::Value{std::uint64_t{20'000}});
    const auto none = os::scope_properties({.memory_bytes = -1}, {.memory_bytes = -1}).value();
    EXPECT_EQ(find(none, "MemorySwapMax").value, dbus::Value{UINT64_MAX});
}

TEST(ScopePropertiesTest, UnifiedFilesThatSystemdKnows)
{
    const auto properties = scope_properties({.unified = {{"memory.high", "max"},
                                                          {"cpu.max", "max 20000"},
                                                          {"pids.max", " 7 "},
                                                          {"io.weight", "default 50"},
                                                          {"memory.oom.group", "1"}}})
                                .value();
    EXPECT_EQ(find(properties, "MemoryHigh").value, dbus::Value{UINT64_MAX});
    EXPECT_EQ(find(properties, "CPUQuotaPerSecUSec").value, dbus::Value{UINT64_MAX});
    EXPECT_EQ(find(properties, "CPUQuotaPeriodUSec").value, dbus::Value{std::uint64_t{20'000}});
    EXPECT_EQ(find(properties, "TasksMax").value, dbus::Value{std::uint64_t{7}});
    EXPECT_EQ(find(properties, "IOWeight").value, dbus::Value{std::uint64_t{50}});
    EXPECT_EQ(properties.size(), 5U);
    EXPECT_FALSE(scope_properties({.unified = {{"memory.max", "lots"}}}));
}

TEST(AnnotationsTest, AreGvariantTexts)
{
    const auto one = [](const char* name, const char* text) {
        const auto all = annotated_properties({{cat("org.systemd.property.", name), text}, {"other", "x"}});
        return all && all->size() == 1 ? all->front() : Property{"refused", false};
    };
    EXPECT_EQ(one("KillSignal", "15"), (Property{"KillSignal", std::int32_t{15}}));
    EXPECT_EQ(one("TimeoutStopUSec", "uint64 10000000"), (Property{"TimeoutStopUSec", std::uint64_t{10'000'000}}));
    EXPECT_EQ(one("TimeoutStopSec", "5"), (Property{"TimeoutStopUSec", std::uint64_t{5'000'000}}));
    EXPECT_EQ(one("Description", "'it\\'s'"), (Property{"Description", std::string{"it's"}}));
    EXPECT_EQ(one("SendSIGHUP", "true"), (Property{"SendSIGHUP", true}));
    EXPECT_EQ(one("Before", "['a.service', \"b.service\"]"),
              (Property{"Before", std::vector<std::string>{"a.service", "b.service"}}));
    EXPECT_EQ(one("Before", "[]"), (Property{"Before", std::vector<std::string>{}}));
    for (const char* const bad :
         {"", "'a", "[1]", "['a' 'b']", "['a',", "uint64 -1", "double 1", "word", "int32 9999999999"})
        EXPECT_EQ(one("KillSignal", bad).name, "refused") << bad;
    EXPECT_EQ(one("Kill Signal", "1").name, "refused");
    EXPECT_EQ(one("TimeoutStopSec", "18446744073709551615").name, "refused");
}

/// A bus with a systemd, as far as the start of one scope asks for it.
class FakeBus {
public:
    explicit FakeBus(std::string result) : result_{std::move(result)}
    {
        path_ = cat("/tmp/coppice-test-bus-", ::getpid());
        ::unlink(path_.c_str());
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.data(), path_.size());
        listener_ = Fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
        EXPECT_EQ(::listen(listener_.get(), 1), 0);
        ::setenv("DBUS_SESSION_BUS_ADDRESS", cat("unix:abstract=/no,x=y;unix:path=", path_, ",guid=0").c_str(), 1);
        thread_ = std::thread{[this] { serve(); }};
    }
    ~FakeBus()
    {
        thread_.join();
        ::unlink(path_.c_str());
        ::unsetenv("DBUS_SESSION_BUS_ADDRESS");
    }
    FakeBus(const FakeBus&) = delete;

private:
    void send(std::string_view bytes) const
    {
        ASSERT_EQ(::write(connection_.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    }

    bool more()
    {
        std::array<char, 4096> buffer{};
        const auto got = ::read(connection_.get(), buffer.data(), buffer.size());
        if (got > 0) received_.append(buffer.data(), static_cast<std::size_t>(got));
        return got > 0;
    }

    void job_removed(const char* sender, const char* result) const
    {
        dbus::Writer body;
        body.number(std::uint32_t{1});
        for (const char* const text : {"/job/1", "x.scope", result})
            body.text(text);
        send(dbus::encode({.type = MessageType::Signal,
                           .serial = 9,
                           .path = "/org/freedesktop/systemd1",
                           .interface = "org.freedesktop.systemd1.Manager",
                           .member = "JobRemoved",
                           .sender = sender,
                           .signature = "uoss",
                           .body = body.bytes()}));
    }

    void answer(const Message& call)
    {
        Message reply{.type = MessageType::Return, .serial = 8, .reply_serial = call.serial, .sender = ":1.1"};
        if (call.member == "StartTransientUnit") {
            dbus::Writer body;
            body.text("/job/1");
            reply.signature = "o";
            reply.body = body.bytes();
        }
        send(encode(reply));
        if (call.member != "StartTransientUnit") return;
        job_removed(":1.666", "done"); // anybody can send that
        job_removed(":1.1", result_.c_str());
    }

    void serve()
    {
        connection_ = Fd{::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
        while (received_.find("DATA\r\n") == std::string::npos)
            if (!more()) return;
        EXPECT_EQ(received_, std::string("\0AUTH EXTERNAL\r\nDATA\r\n", 22));
        send("DATA\r\nOK 0123\r\n");
        while (received_.find("BEGIN\r\n") == std::string::npos)
            if (!more()) return;
        received_.erase(0, received_.find("BEGIN\r\n") + 7);
        for (;;) {
            const auto length = dbus::message_length(received_).value();
            if (length && *length <= received_.size()) {
                answer(dbus::decode(std::string_view{received_}.substr(0, *length)).value());
                received_.erase(0, *length);
            } else if (!more()) {
                return;
            }
        }
    }

    std::string result_, path_, received_;
    Fd listener_, connection_;
    std::thread thread_;
};

TEST(SystemdTest, WaitsForTheEndOfTheJob)
{
    const FakeBus bus{"done"};
    auto systemd = Systemd::connect(true);
    ASSERT_TRUE(systemd) << systemd.error().line();
    const auto started = systemd->start_scope({"a.slice", "x.scope"}, 1, "a test", {});
    EXPECT_TRUE(started) << started.error().line();
}

TEST(SystemdTest, BelievesNobodyElseOnTheBus)
{
    const FakeBus bus{"failed"};
    auto systemd = Systemd::connect(true);
    ASSERT_TRUE(systemd) << systemd.error().line();
    const auto started = systemd->start_scope({"a.slice", "x.scope"}, 1, "a test", {});
    ASSERT_FALSE(started);
    EXPECT_NE(started.error().line().find("ended with 'failed'"), std::string::npos) << started.error().line();
}

} // namespace
} // namespace coppice::os
