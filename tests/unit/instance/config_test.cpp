#include "coppice/instance/config.h"

#include "coppice/instance/protocol.h"
#include "coppice/os/unix_socket.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <filesystem>
#include <nlohmann/json.hpp>

namespace coppice::instance {
namespace {

using nlohmann::json;
using test::fails_as;
using test::succeeds;
using test::value_of;

InstanceConfig full_config()
{
    InstanceConfig config;
    config.name = "web.1";
    config.root = "/images/de bian.erofs";
    config.mode = Mode::Shared;
    config.remove_at_end = true;
    config.command = {"sh", "-c", "echo \"$A\"\n", ""};
    config.env = {"A=b=c", "EMPTY="};
    config.workdir = "/work";
    config.user = "web:www";
    config.hostname = "box";
    config.terminal = true;
    config.boot = true;
    config.memory_bytes = 67108864;
    config.millicpus = 500;
    config.pids = -1;
    config.volumes = {{"/src", "/dst", true}, {"/a b", "/c", false}};
    config.swap_bytes = 0;
    config.cpu_weight = 1;
    config.io_weight = 10000;
    config.ulimits = {{"RLIMIT_NOFILE", 5, UINT64_MAX}};
    config.tmpfs = {{"/cache", {"size=65536", "exec"}}, {"/t", {}}};
    config.devices = {{"/dev/null", "/dev/nothing", "rw"}};
    config.read_only = true;
    config.keep_identity = true;
    config.cap_add = {"CAP_NET_ADMIN"};
    config.cap_drop = {"ALL"};
    config.no_new_privileges = true;
    config.seccomp = R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]})";
    config.apparmor = "coppice-web";
    config.labels = {{"empty", ""}, {"who", "me=you"}};
    config.stop_signal = "USR1";
    config.stop_timeout_seconds = 0;
    config.log_max_bytes = 65536;
    config.log_max_files = 1;
    config.created = "2026-01-31T08:15:00.000000001Z";
    config.started = "2026-01-31T08:16:00.000000001Z";
    config.exit_status = 137;
    return config;
}

std::string with(const char* pointer, const json& value)
{
    auto document = json::parse(to_json(full_config()));
    document[json::json_pointer{pointer}] = value;
    return document.dump();
}

TEST(InstanceConfigTest, SurvivesWritingAndReading)
{
    EXPECT_EQ(value_of(parse_instance_config(to_json(full_config()))), full_config());
    InstanceConfig plain;
    plain.name = "a";
    plain.root = "/r";
    EXPECT_EQ(value_of(parse_instance_config(to_json(plain))), plain);
    plain.seccomp = kUnconfined;
    plain.memory_bytes = 4U << 20;
    plain.swap_bytes = -1;
    EXPECT_EQ(value_of(parse_instance_config(to_json(plain))), plain);
}

TEST(InstanceConfigTest, WhatWasNotAskedForIsNotWritten)
{
    InstanceConfig plain;
    plain.name = "a";
    plain.root = "/r";
    const auto document = json::parse(to_json(plain));
    for (const char* const key :
         {"swapBytes", "cpuWeight", "ulimits", "tmpfs", "devices", "readOnly", "capAdd", "noNewPrivileges", "seccomp",
          "labels", "stopSignal", "stopTimeoutSeconds", "logMaxBytes", "logMaxFiles", "boot", "init"})
        EXPECT_FALSE(document.contains(key)) << key;
}

TEST(InstanceConfigTest, ReadsWhatOlderAndNewerVersionsWrote)
{
    const auto config = value_of(parse_instance_config(
        R"({"name": "a", "root": "/r", "mode": "private", "somethingNew": {"x": 1}, "labels": null})"));
    EXPECT_EQ(config.name, "a");
    EXPECT_TRUE(config.labels.empty());
}

TEST(InstanceConfigTest, NeverAbsentWhereItMatters)
{
    for (const char* const key : {"name", "root", "mode"}) {
        EXPECT_TRUE(
            fails_as(ErrorKind::Invalid, key, parse_instance_config(with((std::string{"/"} + key).c_str(), nullptr))))
            << key;
    }
}

TEST(InstanceConfigTest, WrongValues)
{
    const std::pair<const char*, json> wrong[] = {{"/name", "../x"},
                                                  {"/name", ""},
                                                  {"/mode", "Private"},
                                                  {"/mode", 1},
                                                  {"/memoryBytes", 0},
                                                  {"/memoryBytes", -1},
                                                  {"/memoryBytes", (4 << 20) - 1},
                                                  {"/memoryBytes", "64m"},
                                                  {"/memoryBytes", 18446744073709551615ULL},
                                                  {"/millicpus", 9},
                                                  {"/pids", 0},
                                                  {"/pids", -2},
                                                  {"/exitStatus", 256},
                                                  {"/exitStatus", -1},
                                                  {"/volumes", 1},
                                                  {"/volumes/0", "x"},
                                                  {"/volumes/0/source", nullptr},
                                                  {"/command", "sh"},
                                                  {"/env/0", 1},
                                                  {"/terminal", "yes"},
                                                  {"/swapBytes", -2},
                                                  {"/cpuWeight", 0},
                                                  {"/ioWeight", 10001},
                                                  {"/ulimits/0/hard", -1},
                                                  {"/ulimits/0/name", nullptr},
                                                  {"/tmpfs/0/destination", nullptr},
                                                  {"/tmpfs/0/options", "ro"},
                                                  {"/devices/0/access", nullptr},
                                                  {"/readOnly", 1},
                                                  {"/capAdd", "ALL"},
                                                  {"/seccomp", "default"},
                                                  {"/seccomp", 1},
                                                  {"/labels", {"a"}},
                                                  {"/labels/who", 1},
                                                  {"/init", true},
                                                  {"/boot", "yes"},
                                                  {"/stopSignal", "NONE"},
                                                  {"/stopTimeoutSeconds", 86401},
                                                  {"/logMaxBytes", 65535},
                                                  {"/logMaxFiles", 0},
                                                  {"/logMaxFiles", 101},
                                                  {"/workdir", 5}};
    for (const auto& [pointer, value] : wrong)
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_instance_config(with(pointer, value))))
            << pointer << " " << value.dump();
}

TEST(ModeTest, Words)
{
    EXPECT_EQ(value_of(parse_mode("private")), Mode::Private);
    EXPECT_EQ(value_of(parse_mode("shared")), Mode::Shared);
    EXPECT_EQ(to_word(Mode::Private), "private");
    EXPECT_EQ(to_word(Mode::Shared), "shared");
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "mode 'x' is unknown", parse_mode("x")));
}

class VolumeTest : public testing::Test {
protected:
    VolumeTest() { directory_.make_directory("data"); }
    test::TempDir directory_;
    std::string source_ = std::filesystem::canonical(directory_.path()).string() + "/data";
};

TEST_F(VolumeTest, Forms)
{
    EXPECT_EQ(value_of(parse_volume(source_ + ":/mnt")), (Volume{source_, "/mnt", false}));
    EXPECT_EQ(value_of(parse_volume(source_ + ":/mnt:rw")), (Volume{source_, "/mnt", false}));
    EXPECT_EQ(value_of(parse_volume(source_ + ":/mnt/x:ro")), (Volume{source_, "/mnt/x", true}));
    EXPECT_EQ(value_of(parse_volume(directory_ / "data/../data/.:/mnt")).source, source_);
    EXPECT_TRUE(value_of(parse_volume(".:/mnt")).source.starts_with('/'));
}

TEST_F(VolumeTest, Links)
{
    std::filesystem::create_directory_symlink("data", directory_ / "link");
    EXPECT_EQ(value_of(parse_volume(directory_ / "link:/mnt")).source, source_);
}

TEST_F(VolumeTest, Refused)
{
    for (const std::string& text :
         {std::string{""}, std::string{":"}, std::string{":/mnt"}, source_, source_ + ":", source_ + ":mnt",
          source_ + ":/", source_ + ":/mnt:", source_ + ":/mnt:RO", source_ + ":/mnt:ro:x", source_ + ":/mnt:z"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "SOURCE:DESTINATION[:ro]", parse_volume(text))) << text;
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "volume source", parse_volume(directory_ / "missing:/mnt")));
}

TEST(ProtocolTest, Launch)
{
    for (const bool detached : {false, true}) {
        const Launch launch{.store_root = "/var/lib/cop pice", .detached = detached, .config = full_config()};
        const auto parsed = value_of(parse_launch(to_text(launch)));
        EXPECT_EQ(parsed.store_root, launch.store_root);
        EXPECT_EQ(parsed.detached, detached);
        EXPECT_EQ(parsed.config, launch.config);
    }
    for (const char* const text : {"", "detached", "detached\n/x", "detached\n/x\n{}"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_launch(text))) << text;
}

TEST(ProtocolTest, EndedInstances)
{
    const auto parsed = value_of(parse_ended(to_text(Ended{.status = 137, .note = "line one\nline two"})));
    EXPECT_EQ(parsed.status, 137);
    EXPECT_EQ(parsed.note, "line one\nline two");
    EXPECT_EQ(value_of(parse_ended("0\n")).note, "");
    for (const char* const text : {"", "x\n", "256\n", "-1\n", "\n0"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_ended(text))) << text;
}

TEST(ProtocolTest, MessagesWithAndWithoutADescriptor)
{
    auto [ours, theirs] = value_of(os::socket_pair());
    ASSERT_TRUE(succeeds(say(ours, Say::Started, "text", {ours.get()})));
    ASSERT_TRUE(succeeds(say(ours, Say::Detach)));
    const auto first = value_of(hear(theirs));
    ASSERT_TRUE(first.has_value());
    EXPECT_EQ(first->word, Say::Started);
    EXPECT_EQ(first->text, "text");
    EXPECT_EQ(first->fds.size(), 1U);
    const auto second = value_of(hear(theirs));
    ASSERT_TRUE(second.has_value());
    EXPECT_EQ(second->word, Say::Detach);
    EXPECT_TRUE(second->fds.empty());
}

TEST(ProtocolTest, TheEndOfTheOtherOneIsAMessage)
{
    auto [ours, theirs] = value_of(os::socket_pair());
    ours.reset();
    EXPECT_FALSE(value_of(hear(theirs)).has_value());
    EXPECT_FALSE(say(theirs, Say::Signal, "15")) << "and saying something to nobody is an error, not a signal";
}

TEST(ProtocolTest, TooLongIsRefusedBeforeItIsSent)
{
    auto [ours, theirs] = value_of(os::socket_pair());
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "too long", say(ours, Say::Launch, std::string(192U << 10, 'x'))));
    ASSERT_TRUE(succeeds(say(ours, Say::Launch, std::string(100U << 10, 'x'))));
    EXPECT_EQ(value_of(hear(theirs))->text.size(), 100U << 10);
}

} // namespace
} // namespace coppice::instance
