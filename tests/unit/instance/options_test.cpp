#include "coppice/instance/options.h"

#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

namespace coppice::instance {
namespace {

using test::fails_as;
using test::succeeds;
using test::value_of;
using Texts = std::vector<std::string>;

TEST(EnvFileTest, DockersSyntax)
{
    EXPECT_EQ(
        value_of(parse_env_file("A=1\n\n  # comment\n#x\n \tB= two words \"quoted\" # kept\nOURS\nC=\nD=x=y", "f")),
        (Texts{"A=1", "B= two words \"quoted\" # kept", "OURS", "C=", "D=x=y"}));
    EXPECT_EQ(value_of(parse_env_file("\xEF\xBB\xBF"
                                      "A=1\r\nB=2\r\n",
                                      "f")),
              (Texts{"A=1", "B=2"}));
    EXPECT_EQ(value_of(parse_env_file("", "f")), Texts{});
}

TEST(EnvFileTest, Refused)
{
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "f: line 2: no variable name", parse_env_file("A=1\n=x", "f")));
    EXPECT_TRUE(
        fails_as(ErrorKind::Invalid, "f: line 1: the variable name 'A ' holds a blank", parse_env_file("A =1", "f")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "holds a blank", parse_env_file("export A=1", "f")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "zero byte", parse_env_file(std::string_view{"A=\0", 3}, "f")));
}

TEST(CapabilityOptionTest, Names)
{
    EXPECT_EQ(value_of(parse_capability("NET_ADMIN")), "CAP_NET_ADMIN");
    EXPECT_EQ(value_of(parse_capability("cap_net_admin")), "CAP_NET_ADMIN");
    EXPECT_EQ(value_of(parse_capability("all")), "ALL");
    for (const char* const text : {"", "CAP_", "NET", "NET_ADMIN,KILL", "CAP_ALL", "CAP_CAP_KILL"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "capabilities(7)", parse_capability(text))) << text;
}

TEST(DeviceOptionTest, Forms)
{
    const std::string null = "/dev/null";
    EXPECT_EQ(value_of(parse_device(null)), (Device{null, null, "rwm"}));
    EXPECT_EQ(value_of(parse_device("/dev/null:/dev/x")), (Device{null, "/dev/x", "rwm"}));
    EXPECT_EQ(value_of(parse_device("/dev/null:r")), (Device{null, null, "r"}));
    EXPECT_EQ(value_of(parse_device("/dev/null:/dev/x:rw")), (Device{null, "/dev/x", "rw"}));
}

TEST(DeviceOptionTest, Refused)
{
    const std::pair<const char*, const char*> wrong[] = {{"", "must be absolute"},
                                                         {"dev/null", "must be absolute"},
                                                         {"/dev/null:", "path inside"},
                                                         {"/dev/null:x", "path inside"},
                                                         {"/dev/null:/", "path inside"},
                                                         {"/dev/null:/dev/", "path inside"},
                                                         {"/dev/null:/dev/../x", "path inside"},
                                                         {"/dev/null:/dev/zero", "has its own /dev/zero"},
                                                         {"/dev/null:/dev/x:", "the access ''"},
                                                         {"/dev/null:/dev/x:rx", "the access 'rx'"},
                                                         {"/dev/null:/dev/x:rwmr", "the access"},
                                                         {"/dev/null:/dev/x:r:w", "too many parts"},
                                                         {"/dev", "name each device in it"},
                                                         {"/proc/self/status", "it is no device"}};
    for (const auto& [text, why] : wrong) {
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, why, parse_device(text))) << text;
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "HOST[:INSIDE[:rwm]]", parse_device(text))) << text;
    }
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "device /no/such", parse_device("/no/such")));
}

TEST(TmpfsOptionTest, Forms)
{
    EXPECT_EQ(value_of(parse_tmpfs("/t")), (Tmpfs{"/t", {}}));
    EXPECT_EQ(value_of(parse_tmpfs("/t/u/:size=64k,mode=1777,exec,ro")),
              (Tmpfs{"/t/u", {"size=65536", "mode=1777", "exec", "ro"}}));
    EXPECT_EQ(value_of(parse_tmpfs("/t:size=50%,uid=5,gid=0,nr_inodes=10,noatime")),
              (Tmpfs{"/t", {"size=50%", "uid=5", "gid=0", "nr_inodes=10", "noatime"}}));
}

TEST(TmpfsOptionTest, Refused)
{
    for (const char* const text : {"", "t", "/", "//", ":", "/a/../b", "/.."})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "must be absolute", parse_tmpfs(text))) << text;
    for (const char* const text :
         {"/t:x", "/t:size=", "/t:size=0", "/t:size=-1", "/t:size=0%", "/t:size=101%", "/t:mode=8",
          "/t:mode=", "/t:uid=-1", "/t:uid=root", "/t:nr_inodes=0", "/t:,", "/t:bind", "/t:ro:x"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "unknown or wrong option", parse_tmpfs(text))) << text;
}

TEST(UlimitOptionTest, Forms)
{
    EXPECT_EQ(value_of(parse_ulimit("nofile=5")), (Ulimit{"RLIMIT_NOFILE", 5, 5}));
    EXPECT_EQ(value_of(parse_ulimit("RLIMIT_core=0:-1")), (Ulimit{"RLIMIT_CORE", 0, RLIM_INFINITY}));
    EXPECT_EQ(value_of(parse_ulimit("stack=unlimited")), (Ulimit{"RLIMIT_STACK", RLIM_INFINITY, RLIM_INFINITY}));
    for (const char* const name : {"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice",
                                   "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"})
        EXPECT_TRUE(succeeds(parse_ulimit(std::string{name} + "=1"))) << name;
}

TEST(UlimitOptionTest, Refused)
{
    const std::pair<const char*, const char*> wrong[] = {{"", "no name"},
                                                         {"nofile", "no name"},
                                                         {"=5", "no name"},
                                                         {"files=5", "'files'"},
                                                         {"nofile=", "whole number"},
                                                         {"nofile=x", "whole number"},
                                                         {"nofile=-2", "whole number"},
                                                         {"nofile=1:", "whole number"},
                                                         {"nofile=1:2:3", "whole number"},
                                                         {"nofile=2:1", "above"},
                                                         {"nofile=-1:5", "above"}};
    for (const auto& [text, why] : wrong)
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, why, parse_ulimit(text))) << text;
}

TEST(LabelOptionTest, Forms)
{
    EXPECT_EQ(value_of(parse_label("a=b=c")), (std::pair<std::string, std::string>{"a", "b=c"}));
    EXPECT_EQ(value_of(parse_label("a")), (std::pair<std::string, std::string>{"a", ""}));
    for (const char* const text : {"", "=x", "coppice.mode=shared"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "label", parse_label(text))) << text;
}

TEST(SwapOptionTest, Forms)
{
    EXPECT_EQ(value_of(parse_swap("-1")), -1);
    EXPECT_EQ(value_of(parse_swap("0")), 0);
    EXPECT_EQ(value_of(parse_swap("64m")), 64 << 20);
    for (const char* const text : {"", "-2", "x", "9000000t"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_swap(text))) << text;
}

TEST(LogOptionTest, FormsAndBounds)
{
    InstanceConfig config;
    EXPECT_TRUE(succeeds(apply_log_option(config, "max-size=64k")));
    EXPECT_EQ(config.log_max_bytes, 64 << 10);
    EXPECT_TRUE(succeeds(apply_log_option(config, "max-file=100")));
    EXPECT_EQ(config.log_max_files, 100);
    const InstanceConfig before = config;
    for (const char* const text : {"", "max-size", "max-size=", "max-size=63k", "max-size=2t", "max-size=-1",
                                   "max-file=", "max-file=0", "max-file=101", "max-file=x", "compress=true"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, text, apply_log_option(config, text))) << text;
    EXPECT_EQ(config, before);
}

TEST(SecurityOptionTest, Forms)
{
    InstanceConfig config;
    for (const char* const text : {"no-new-privileges", "no-new-privileges:true", "no-new-privileges=true"}) {
        config.no_new_privileges = false;
        EXPECT_TRUE(succeeds(apply_security_option(config, text))) << text;
        EXPECT_TRUE(config.no_new_privileges) << text;
    }
    EXPECT_TRUE(succeeds(apply_security_option(config, "no-new-privileges:false")));
    EXPECT_FALSE(config.no_new_privileges);
    EXPECT_TRUE(succeeds(apply_security_option(config, "seccomp=unconfined")));
    EXPECT_EQ(config.seccomp, kUnconfined);
    EXPECT_TRUE(succeeds(apply_security_option(config, "apparmor=mine")));
    EXPECT_EQ(config.apparmor, "mine");
    const InstanceConfig before = config;
    EXPECT_TRUE(succeeds(apply_security_option(config, "label=disable")));
    EXPECT_EQ(config, before);
}

TEST(SecurityOptionTest, Refused)
{
    InstanceConfig config;
    for (const char* const text : {"no-new-privileges=maybe", "no-new-privileges=", "seccomp", "seccomp=", "apparmor="})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, text, apply_security_option(config, text))) << text;
    for (const char* const text : {"", "label=type:x", "label", "systempaths=unconfined", "seccomp:unconfined"})
        EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "label=disable", apply_security_option(config, text))) << text;
    EXPECT_EQ(config, InstanceConfig{});
}

class ProfileTest : public testing::Test {
protected:
    Result<> apply(const std::string& text)
    {
        directory_.write("profile.json", text);
        return apply_security_option(config_, "seccomp=" + (directory_ / "profile.json"));
    }
    test::TempDir directory_;
    InstanceConfig config_;
};

TEST_F(ProfileTest, IsKeptAsItIs)
{
    ASSERT_TRUE(succeeds(apply(R"({"syscalls": [], "defaultAction": "SCMP_ACT_ALLOW"})")));
    EXPECT_EQ(config_.seccomp, R"({"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]})");
    config_.name = "a";
    config_.root = "/r";
    EXPECT_EQ(value_of(parse_instance_config(to_json(config_))), config_);
}

TEST_F(ProfileTest, Refused)
{
    const std::pair<const char*, const char*> wrong[] = {
        {"", "profile.json"},
        {"[]", "must be a JSON object"},
        {"{}", "defaultAction"},
        {R"({"defaultAction": 1})", "defaultAction"},
        {R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 1})", "syscalls"},
        {R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_ALLOW"}]})", "names"},
        {R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "includes": {"caps": ["CAP_BPF"]}}]})",
         "action"},
        {R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "excludes": {"caps": ["CAP_BPF"]}}]})",
         "action"}};
    for (const auto& [text, why] : wrong)
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, why, apply(text))) << text;
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "/no/such", apply_security_option(config_, "seccomp=/no/such")));
    EXPECT_EQ(config_.seccomp, "");
}

TEST(DestinationsTest, OneThingAtEachPlace)
{
    InstanceConfig config;
    config.volumes = {{"/s", "/a", false}};
    config.tmpfs = {{"/a/b", {}}};
    config.devices = {{"/dev/null", "/dev/x", "rwm"}};
    EXPECT_TRUE(succeeds(check_destinations(config)));
    config.tmpfs.push_back({"/a", {}});
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "two things are to be at /a inside", check_destinations(config)));
    config.tmpfs.pop_back();
    config.volumes.push_back({"/s", "/dev/x/", false});
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "/dev/x inside", check_destinations(config)));
}

} // namespace
} // namespace coppice::instance
