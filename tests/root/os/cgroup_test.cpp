// Needs: root and a cgroup hierarchy. All cgroups are below /coppice-test-PID.

#include "coppice/os/cgroup.h"

#include "coppice/base/text.h"
#include "coppice/os/device_filter.h"
#include "coppice/os/file.h"
#include "coppice/os/process.h"
#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <random>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::os {
namespace {

using test::fails_as;
using test::in_child_of_cgroup;
using test::succeeds;
using test::value_of;

/// A cgroup of the test's own, removed with all that is in it.
class TestCgroup {
public:
    explicit TestCgroup(const CgroupLimits& limits = {}, const std::string& name = "/t")
    {
        const auto layout = value_of(CgroupLayout::detect());
        paths_ = value_of(plan_cgroup(layout, "/" + test::host_name_prefix() + name, limits));
        v2_ = value_of(make_cgroup(paths_, limits));
    }
    TestCgroup(const TestCgroup&) = delete;
    TestCgroup& operator=(const TestCgroup&) = delete;
    ~TestCgroup()
    {
        EXPECT_TRUE(succeeds(kill_cgroup(paths_)));
        EXPECT_TRUE(succeeds(remove_cgroup(paths_)));
        const auto parent = [](const std::string& path) { return path.substr(0, path.find_last_of('/')); };
        for (const auto& [controller, directory] : paths_.v1)
            ::rmdir(parent(directory).c_str());
        if (!paths_.v2.empty()) ::rmdir(parent(paths_.v2).c_str());
    }
    const CgroupPaths& paths() const { return paths_; }
    const Fd& v2() const { return v2_; }

private:
    CgroupPaths paths_;
    Fd v2_;
};

Result<> join(const TestCgroup& cgroup)
{
    const auto files = TRY(open_join_files(cgroup.paths()));
    return join_by(files);
}

int fork_until_refused(int most)
{
    for (int made = 0; made < most; ++made) {
        const pid_t pid = ::fork();
        if (pid < 0) return made;
        if (pid == 0) {
            ::pause();
            ::_exit(0);
        }
    }
    return most;
}

TEST(CgroupTest, AProcessIsBornInIt)
{
    COPPICE_NEEDS(Root, CgroupV2);
    const TestCgroup cgroup;
    const auto child = value_of(fork_process({.cgroup = cgroup.v2().get()}, [] {
        ::pause();
        return 0;
    }));
    EXPECT_EQ(value_of(processes_in(cgroup.paths())), (std::vector<pid_t>{child.pid()}));
    const std::string own = test::read_text("/proc/" + std::to_string(child.pid()) + "/cgroup");
    EXPECT_NE(own.find("0::/" + test::host_name_prefix() + "/t\n"), std::string::npos) << own;
}

TEST(CgroupTest, KillReachesAllEvenWhatForks)
{
    COPPICE_NEEDS(Root, CgroupV2);
    const TestCgroup cgroup;
    std::vector<Process> children;
    for (int i = 0; i < 3; ++i)
        children.push_back(value_of(fork_process({.cgroup = cgroup.v2().get()}, [] {
            for (int n = 0; n < 200; ++n) { // bounded, should the kill fail
                if (::fork() == 0) {
                    ::usleep(200'000);
                    ::_exit(0);
                }
                ::usleep(500);
            }
            ::pause();
            return 0;
        })));
    ASSERT_TRUE(test::wait_until([&] { return value_of(processes_in(cgroup.paths())).size() > 6; }));
    EXPECT_TRUE(succeeds(kill_cgroup(cgroup.paths())));
    EXPECT_TRUE(value_of(processes_in(cgroup.paths())).empty());
    for (Process& child : children)
        EXPECT_EQ(value_of(child.wait()).code, 128 + SIGKILL);
}

std::vector<Process> sleepers_in(const TestCgroup& cgroup, const std::vector<uid_t>& users)
{
    std::vector<Process> children;
    for (const uid_t user : users)
        children.push_back(value_of(fork_process({.cgroup = cgroup.v2().get()}, [user] {
            if (::setresuid(user, user, user) < 0) return 1;
            ::pause();
            return 0;
        })));
    return children;
}

bool ends_by(Process& child, int signal)
{
    std::optional<ExitStatus> status;
    test::wait_until([&] { return (status = value_of(child.poll())).has_value(); });
    return status && status->code == 128 + signal;
}

TEST(CgroupTest, SignalReachesMoreThanDescriptorsCanBeOpen)
{
    COPPICE_NEEDS(Root, CgroupV2);
    const TestCgroup cgroup;
    auto children = sleepers_in(cgroup, std::vector<uid_t>(40, 0));
    EXPECT_TRUE(test::in_child(0, [&] {
        rlimit few{};
        ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &few), 0);
        const Fd next{::dup(0)};
        few.rlim_cur = static_cast<rlim_t>(next.get()) + 10; // holes below aside; some are needed to list processes
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
        EXPECT_TRUE(succeeds(signal_processes(cgroup.paths(), SIGTERM)));
    }));
    for (Process& child : children)
        ASSERT_TRUE(ends_by(child, SIGTERM));
}

TEST(CgroupTest, SignalReachesAllButThoseItMayNot)
{
    COPPICE_NEEDS(Root, CgroupV2);
    const TestCgroup cgroup;
    constexpr uid_t kNobody = 65534;
    auto children = sleepers_in(cgroup, {kNobody, 0, kNobody, 0, kNobody});
    const auto own = [&] {
        return std::ranges::count_if(children, [kNobody](const Process& child) {
            const auto text = test::read_text(cat("/proc/", child.pid(), "/status"));
            return text.find(cat("\nUid:\t", kNobody)) != std::string::npos;
        });
    };
    ASSERT_TRUE(test::wait_until([&] { return own() == 3; }));
    EXPECT_TRUE(test::in_child(0, [&] {
        ASSERT_EQ(::setresuid(kNobody, kNobody, kNobody), 0);
        EXPECT_TRUE(fails_as(ErrorKind::Denied, "send signal 15", signal_processes(cgroup.paths(), SIGTERM)));
    }));
    for (std::size_t i = 0; i < children.size(); i += 2)
        EXPECT_TRUE(ends_by(children[i], SIGTERM)) << i;
    EXPECT_FALSE(value_of(children[1].poll()).has_value());
    EXPECT_FALSE(value_of(children[3].poll()).has_value());
}

TEST(CgroupTest, SignalDoesNotStumbleOverThoseThatEnd)
{
    COPPICE_NEEDS(Root, CgroupV2);
    const TestCgroup cgroup;
    // Leaders of groups that outlive them by a moment, again and again.
    const Process churn = value_of(fork_process({.cgroup = cgroup.v2().get()}, [] {
        ::signal(SIGCHLD, SIG_IGN); // reaped at once
        for (;;) {
            if (::fork() == 0) {
                ::setpgid(0, 0);
                if (::fork() == 0) ::usleep(500);
                ::_exit(0);
            }
            ::usleep(200);
        }
        return 0;
    }));
    for (int round = 0; round < 300; ++round)
        ASSERT_TRUE(succeeds(signal_processes(cgroup.paths(), 0))) << round;
}

TEST(CgroupTest, ProcessesBelowCount)
{
    COPPICE_NEEDS(Root, CgroupV2);
    const TestCgroup cgroup;
    ASSERT_TRUE(succeeds(make_directory(cgroup.v2().get(), "below", 0755)));
    const auto below = value_of(open_at(cgroup.v2().get(), "below", O_RDONLY | O_DIRECTORY));
    Process child = value_of(fork_process({.cgroup = below.get()}, [] {
        ::pause();
        return 0;
    }));
    EXPECT_EQ(value_of(processes_in(cgroup.paths())), (std::vector<pid_t>{child.pid()}));
    EXPECT_TRUE(succeeds(kill_cgroup(cgroup.paths())));
    EXPECT_EQ(value_of(child.wait()).code, 128 + SIGKILL);
    EXPECT_TRUE(succeeds(remove_cgroup(cgroup.paths())));
    EXPECT_FALSE(exists(kCwd, cgroup.paths().v2));
    EXPECT_TRUE(succeeds(remove_cgroup(cgroup.paths()))) << "absence is fine";
    EXPECT_TRUE(succeeds(kill_cgroup(cgroup.paths())));
}

TEST(CgroupTest, ProcessesAreLimited)
{
    COPPICE_NEEDS(Root, PidsController, CgroupV2);
    const CgroupLimits limits{.pids = 5};
    const TestCgroup cgroup{limits};
    ASSERT_TRUE(succeeds(apply_limits(cgroup.paths(), limits)));
    EXPECT_TRUE(in_child_of_cgroup(cgroup.v2().get(), [&] {
        ASSERT_TRUE(succeeds(join(cgroup)));
        EXPECT_EQ(fork_until_refused(20), 4); // with this one five
    }));
}

TEST(CgroupTest, NegativeMeansNoLimit)
{
    COPPICE_NEEDS(Root, PidsController, CgroupV2);
    const CgroupLimits none{.pids = -1};
    const TestCgroup cgroup{none};
    ASSERT_TRUE(succeeds(apply_limits(cgroup.paths(), {.pids = 3})));
    ASSERT_TRUE(succeeds(apply_limits(cgroup.paths(), none)));
    EXPECT_TRUE(in_child_of_cgroup(cgroup.v2().get(), [&] {
        ASSERT_TRUE(succeeds(join(cgroup)));
        EXPECT_EQ(fork_until_refused(20), 20);
    }));
}

TEST(CgroupTest, MemoryIsLimitedAndTheKillIsCounted)
{
    COPPICE_NEEDS(Root, MemoryController);
    constexpr std::int64_t kLimit = 32 << 20;
    const CgroupLimits limits{.memory_bytes = kLimit, .memory_swap_bytes = kLimit};
    const TestCgroup cgroup{limits};
    ASSERT_TRUE(succeeds(apply_limits(cgroup.paths(), limits)));
    EXPECT_EQ(oom_kills(cgroup.paths()), 0U);
    auto child = value_of(fork_process({.cgroup = cgroup.v2().is_open() ? cgroup.v2().get() : -1}, [&] {
        if (!join(cgroup)) return 2;
        constexpr std::size_t kWanted = 128U << 20;
        void* const memory =
            ::mmap(nullptr, kWanted, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        return memory == MAP_FAILED ? 3 : 0;
    }));
    EXPECT_EQ(value_of(child.wait()).code, 128 + SIGKILL);
    EXPECT_GE(oom_kills(cgroup.paths()).value_or(0), 1U);
}

TEST(CgroupTest, ARefusedLimitNamesItself)
{
    COPPICE_NEEDS(Root, PidsController);
    CgroupLimits limits{.pids = 5};
    const TestCgroup cgroup{limits};
    limits.pids = INT64_MAX;
    const auto refused = apply_limits(cgroup.paths(), limits);
    ASSERT_FALSE(refused.has_value());
    EXPECT_NE(refused.error().message().find("set the limit processes to 9223372036854775807"), std::string::npos)
        << refused.error().line();
}

// --- devices

constexpr const char* kOpenable[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"};

/// Errno of opening a device in a process of the cgroup; 0 when it could be opened.
int try_open(const TestCgroup& cgroup, const char* path, int flags)
{
    auto child = value_of(
        fork_process({.cgroup = cgroup.v2().get()}, [&] { return ::open(path, flags | O_CLOEXEC) < 0 ? errno : 0; }));
    return value_of(child.wait()).code;
}

DeviceRule rule(bool allow, std::uint32_t minor, const char* access)
{
    return {.allow = allow, .type = 'c', .major = 1, .minor = minor, .access = access};
}

/// The verdict for opening character device 1:`minor`. Allowing rules for the very same devices that stand together
/// count as one, or "c 1:3 r", "c 1:3 w" would not allow to open for both.
bool may_open(const std::vector<DeviceRule>& rules, std::uint32_t minor, std::string_view access)
{
    const auto covers = [&](const DeviceRule& rule) {
        return rule.type != 'b' && rule.major.value_or(1) == 1 && rule.minor.value_or(minor) == minor;
    };
    bool verdict = false;
    for (std::size_t i = 0; i < rules.size(); ++i) {
        if (!covers(rules[i])) continue;
        std::string together = rules[i].access;
        for (std::size_t j = i; j > 0 && rules[j - 1].allow == rules[i].allow; --j) {
            const DeviceRule& other = rules[j - 1];
            if (other.type == rules[i].type && other.major == rules[i].major && other.minor == rules[i].minor)
                together += other.access;
        }
        const auto is_named = [&](char c) { return together.find(c) != std::string::npos; };
        if (rules[i].allow && std::all_of(access.begin(), access.end(), is_named)) verdict = true;
        if (!rules[i].allow && std::any_of(access.begin(), access.end(), is_named)) verdict = false;
    }
    return verdict;
}

TEST(DeviceFilterTest, OnlyWhatIsAllowedCanBeOpened)
{
    COPPICE_NEEDS(Root, CgroupV2, DeviceFilter);
    const TestCgroup cgroup;
    for (const char* const path : kOpenable)
        ASSERT_EQ(try_open(cgroup, path, O_RDWR), 0) << path;
    ASSERT_TRUE(succeeds(attach_device_filter(cgroup.v2().get(), {rule(true, 3, "rwm")})));
    EXPECT_EQ(try_open(cgroup, "/dev/null", O_RDWR), 0);
    for (const char* const path : {"/dev/zero", "/dev/full", "/dev/urandom"})
        EXPECT_EQ(try_open(cgroup, path, O_RDONLY), EPERM) << path;
    EXPECT_EQ(::access("/dev/full", R_OK), 0) << "nothing changes outside the cgroup";
    EXPECT_TRUE(succeeds(open_at(kCwd, "/dev/full", O_RDONLY)));
}

TEST(DeviceFilterTest, BlockDevicesAreNotCharacterDevices)
{
    COPPICE_NEEDS(Root, CgroupV2, DeviceFilter);
    const test::TempDir directory;
    ASSERT_EQ(::mknod((directory / "disk").c_str(), S_IFBLK | 0600, makedev(7, 0)), 0); // a loop device
    const TestCgroup cgroup;
    ASSERT_TRUE(succeeds(attach_device_filter(cgroup.v2().get(), {{.allow = true, .type = 'c', .access = "rwm"}})));
    EXPECT_EQ(try_open(cgroup, (directory / "disk").c_str(), O_RDONLY), EPERM);
    EXPECT_EQ(try_open(cgroup, "/dev/full", O_RDONLY), 0);
}

TEST(DeviceFilterTest, AccessIsJudgedByKind)
{
    COPPICE_NEEDS(Root, CgroupV2, DeviceFilter);
    const TestCgroup cgroup;
    ASSERT_TRUE(succeeds(
        attach_device_filter(cgroup.v2().get(), {rule(true, 3, "r"), rule(true, 5, "r"), rule(true, 5, "w")})));
    EXPECT_EQ(try_open(cgroup, "/dev/null", O_RDONLY), 0);
    EXPECT_EQ(try_open(cgroup, "/dev/null", O_WRONLY), EPERM);
    EXPECT_EQ(try_open(cgroup, "/dev/null", O_RDWR), EPERM);
    EXPECT_EQ(try_open(cgroup, "/dev/zero", O_RDWR), 0) << "r and w of two rules together";
    const test::TempDir directory;
    EXPECT_TRUE(in_child_of_cgroup(cgroup.v2().get(), [&] {
        EXPECT_LT(::mknod((directory / "node").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
        EXPECT_EQ(errno, EPERM);
    }));
}

TEST(DeviceFilterTest, ALaterRuleOverridesAnEarlierOne)
{
    COPPICE_NEEDS(Root, CgroupV2, DeviceFilter);
    const TestCgroup cgroup;
    ASSERT_TRUE(succeeds(
        attach_device_filter(cgroup.v2().get(), {{.allow = true}, rule(false, 7, "rwm"), rule(false, 5, "w")})));
    EXPECT_EQ(try_open(cgroup, "/dev/null", O_RDWR), 0);
    EXPECT_EQ(try_open(cgroup, "/dev/full", O_RDONLY), EPERM);
    EXPECT_EQ(try_open(cgroup, "/dev/zero", O_RDONLY), 0);
    EXPECT_EQ(try_open(cgroup, "/dev/zero", O_RDWR), EPERM) << "one forbidden access is enough";
}

/// Random rules over a few devices, judged as the v1 controller's documentation has it: rule by rule, the last word
/// counts.
TEST(DeviceFilterTest, RulesInOneStretchOfCodeMeanWhatTheyMeanAlone)
{
    COPPICE_NEEDS(Root, CgroupV2, DeviceFilter);
    std::mt19937 random{20'261'121}; // NOLINT(cert-msc51-cpp): the same rules at every run
    const auto pick = [&random](std::uint32_t below) { return static_cast<std::uint32_t>(random() % below); };
    constexpr std::array<const char*, 4> kAccess{"r", "w", "rw", "rwm"};
    constexpr std::array<std::uint32_t, 5> kMinors{3, 5, 7, 9, 200};
    for (int round = 0; round < 40; ++round) {
        std::vector<DeviceRule> rules;
        for (std::uint32_t i = pick(7) + 1; i > 0; --i) {
            DeviceRule rule{.allow = pick(3) != 0, .type = "aabc"[pick(4)], .access = kAccess[pick(4)]};
            if (pick(4) != 0) rule.major = pick(5) == 0 ? 2 : 1;
            if (pick(4) != 0) rule.minor = kMinors[pick(5)];
            rules.push_back(rule);
        }
        const TestCgroup cgroup;
        ASSERT_TRUE(succeeds(attach_device_filter(cgroup.v2().get(), rules)));
        for (const auto& [path, minor] : {std::pair{"/dev/null", 3U}, {"/dev/zero", 5U}, {"/dev/full", 7U}})
            for (const auto& [flags, access] : {std::pair{O_RDONLY, "r"}, {O_WRONLY, "w"}, {O_RDWR, "rw"}}) {
                const bool expected = may_open(rules, minor, access);
                std::string all;
                for (const DeviceRule& rule : rules)
                    all += cat(rule.allow ? "allow " : "deny ", to_v1_text(rule), "; ");
                EXPECT_EQ(try_open(cgroup, path, flags), expected ? 0 : EPERM) << path << ' ' << access << ": " << all;
            }
    }
}

TEST(DeviceFilterTest, AnOuterFilterGoesOnToHold)
{
    COPPICE_NEEDS(Root, CgroupV2, DeviceFilter);
    const TestCgroup outer;
    const TestCgroup inner{{}, "/t/inner"};
    ASSERT_TRUE(succeeds(attach_device_filter(outer.v2().get(), {rule(true, 3, "rwm")})));
    ASSERT_TRUE(succeeds(attach_device_filter(inner.v2().get(), {{.allow = true}})));
    EXPECT_EQ(try_open(inner, "/dev/null", O_RDONLY), 0);
    EXPECT_EQ(try_open(inner, "/dev/full", O_RDONLY), EPERM);
}

TEST(DeviceFilterTest, ManyRules)
{
    COPPICE_NEEDS(Root, CgroupV2, DeviceFilter);
    std::vector<DeviceRule> rules;
    for (std::uint32_t i = 0; i < 300; ++i)
        rules.push_back({.allow = true, .type = 'c', .major = 250, .minor = i, .access = "r"});
    rules.push_back(rule(true, 3, "r"));
    const TestCgroup cgroup;
    ASSERT_TRUE(succeeds(attach_device_filter(cgroup.v2().get(), rules)));
    EXPECT_EQ(try_open(cgroup, "/dev/null", O_RDONLY), 0);
    EXPECT_EQ(try_open(cgroup, "/dev/full", O_RDONLY), EPERM);
}

} // namespace
} // namespace coppice::os
