#include "coppice/instance/boot.h"

#include "coppice/runtime/spec.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"
#include "oci_config.h"

#include <algorithm>

namespace coppice::instance {
namespace {

using test::fails_as;
using test::succeeds;
using test::value_of;

constexpr const char* kUnified = "1 2 0:1 / /sys/fs/cgroup rw - cgroup2 none rw\n";
constexpr const char* kHybrid = "1 2 0:1 / /u rw - cgroup2 none rw\n1 2 0:2 / /m rw - cgroup none rw,memory\n";
constexpr const char* kLegacy =
    "1 2 0:2 / /m rw - cgroup none rw,memory\n1 2 0:3 / /s rw - cgroup none rw,name=systemd\n";

os::CgroupLayout layout(const char* mountinfo) { return value_of(os::CgroupLayout::parse(mountinfo, "0::/\n")); }

InstanceConfig whole_system()
{
    InstanceConfig config;
    config.name = "web";
    config.root = "/images/debian";
    config.boot = true;
    apply_boot_defaults(config);
    return config;
}

runtime::Spec spec_of(const InstanceConfig& config, const char* mountinfo = kUnified,
                      const std::vector<OwnFile>& own_files = {})
{
    const os::UserMapping mapping{.uids = {{0, 0x40000000, 65536}}, .gids = {{0, 0x40000000, 65536}}};
    const rlimit open_files{.rlim_cur = 1000, .rlim_max = 2000};
    return value_of(runtime::parse_spec(
        make_oci_config(config, mapping, layout(mountinfo), "/coppice/web", open_files, {}, own_files)));
}

const runtime::MountSpec* find_mount(const runtime::Spec& spec, std::string_view destination)
{
    const auto found = std::ranges::find(spec.mounts, destination, &runtime::MountSpec::destination);
    return found == spec.mounts.end() ? nullptr : &*found;
}

bool has_option(const runtime::MountSpec* mount, std::string_view option)
{
    return mount != nullptr && std::ranges::find(mount->options, option) != mount->options.end();
}

TEST(BootTest, WhatIsAskedForCountsMoreThanTheDefaults)
{
    const auto config = whole_system();
    EXPECT_EQ(config.command, std::vector<std::string>{"/sbin/init"});
    EXPECT_EQ(config.stop_signal, "RTMIN+3");
    EXPECT_EQ(config.stop_timeout_seconds, 90);
    EXPECT_TRUE(config.terminal);
    InstanceConfig other;
    other.command = {"/lib/systemd/systemd", "--unit=rescue.target"};
    other.stop_signal = "PWR";
    other.stop_timeout_seconds = 5;
    InstanceConfig after = other;
    apply_boot_defaults(after);
    EXPECT_EQ(std::tie(after.command, after.stop_signal, after.stop_timeout_seconds),
              std::tie(other.command, other.stop_signal, other.stop_timeout_seconds));
}

TEST(BootTest, OfAnImageOnlyTheSurroundings)
{
    constexpr auto kImage = R"({"config": {"Entrypoint": ["/entry"], "Cmd": ["word"], "User": "app", "Env": ["A=b"],
                                           "StopSignal": "SIGRTMIN+4"}})";
    InstanceConfig config;
    config.boot = true;
    ASSERT_TRUE(succeeds(apply_image_config(config, kImage)));
    EXPECT_EQ(config.command, std::vector<std::string>{"/sbin/init"});
    EXPECT_EQ(config.user, "");
    EXPECT_EQ(config.env, std::vector<std::string>{"A=b"});
    EXPECT_EQ(config.stop_signal, "SIGRTMIN+4");
    InstanceConfig program;
    ASSERT_TRUE(succeeds(apply_image_config(program, kImage)));
    EXPECT_EQ(program.command, (std::vector<std::string>{"/entry", "word"}));
    EXPECT_EQ(program.stop_signal, "SIGRTMIN+4");
    EXPECT_FALSE(program.stop_timeout_seconds.has_value());
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "stop signal of the image",
                         apply_image_config(program = {}, R"({"config": {"StopSignal": "SIGNONE"}})")));
}

TEST(BootTest, ItsOwnCgroupIsWritableAndNothingElseOfThem)
{
    for (const char* const host : {kUnified, kHybrid}) {
        const auto spec = spec_of(whole_system(), host);
        for (const auto& mount : spec.mounts)
            EXPECT_NE(mount.type, "cgroup") << "a hierarchy of version 1";
        const auto* const cgroup = find_mount(spec, "/sys/fs/cgroup");
        EXPECT_EQ(cgroup->type, "cgroup2");
        EXPECT_FALSE(has_option(cgroup, "ro"));
        EXPECT_TRUE(has_option(find_mount(spec, "/sys"), "ro"));
        InstanceConfig ordinary = whole_system();
        ordinary.boot = false;
        EXPECT_TRUE(has_option(find_mount(spec_of(ordinary, host), "/sys/fs/cgroup"), "ro"));
    }
}

TEST(BootTest, NoRightsAboveThoseOfOthers)
{
    InstanceConfig ordinary = whole_system();
    ordinary.boot = false;
    EXPECT_EQ(spec_of(whole_system()).process->capabilities.bounding, spec_of(ordinary).process->capabilities.bounding);
    EXPECT_EQ(spec_of(whole_system()).linux_part.masked_paths, spec_of(ordinary).linux_part.masked_paths);
    EXPECT_EQ(spec_of(whole_system()).linux_part.readonly_paths, spec_of(ordinary).linux_part.readonly_paths);
}

TEST(BootTest, PlacesInMemory)
{
    InstanceConfig config = whole_system();
    config.tmpfs = {{"/tmp", {"size=1"}}};
    const auto spec = spec_of(config);
    EXPECT_TRUE(has_option(find_mount(spec, "/run"), "mode=755"));
    EXPECT_TRUE(has_option(find_mount(spec, "/run/lock"), "mode=1777"));
    EXPECT_TRUE(has_option(find_mount(spec, "/tmp"), "size=1")) << "as it was asked for";
    EXPECT_EQ(find_mount(spec, "/var/tmp"), nullptr);
}

TEST(BootTest, FilesOfOurs)
{
    const test::TempDir directory;
    const auto files = value_of(make_own_files(whole_system(), "", layout(kHybrid), directory / ""));
    ASSERT_EQ(files.size(), 1U);
    EXPECT_EQ(test::read_text(files.front().source), "coppice\n");
    EXPECT_TRUE(has_option(find_mount(spec_of(whole_system(), kHybrid, files), "/run/host/container-manager"), "ro"));

    InstanceConfig config = whole_system();
    config.boot = false;
    config.init = true;
    config.command = {"sh"};
    const auto init = value_of(make_own_files(config, "/bin/of-init", layout(kLegacy), directory / ""));
    ASSERT_EQ(init.size(), 1U);
    const auto spec = spec_of(config, kLegacy, init);
    EXPECT_EQ(spec.process->args, (std::vector<std::string>{kInitPlace, "sh"}));
    EXPECT_TRUE(has_option(find_mount(spec, kInitPlace), "ro"));
}

TEST(BootTest, AHostOfVersion1AloneIsRefused)
{
    const test::TempDir directory;
    EXPECT_TRUE(fails_as(ErrorKind::Unsupported, "cgroup v2",
                         make_own_files(whole_system(), "", layout(kLegacy), directory / "")));
}

} // namespace
} // namespace coppice::instance
