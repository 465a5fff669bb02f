// Needs: seccomp.

#include "syscall_filter.h"

#include "coppice/test/child.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"

#include <cerrno>
#include <filesystem>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::runtime {
namespace {

namespace fs = std::filesystem;
using test::fails_as;
using test::in_child;
using test::succeeds;
using test::value_of;

SeccompSpec refusing(const std::vector<std::string>& names, unsigned number = ENOTTY)
{
    SeccompSpec spec;
    spec.default_action = "SCMP_ACT_ALLOW";
    spec.rules.push_back({.names = names, .action = "SCMP_ACT_ERRNO", .errno_ret = number});
    return spec;
}

class SeccompTest : public testing::Test {
protected:
    SeccompFilter compile(const SeccompSpec& spec) const { return value_of(compile_seccomp(spec, cache_.fd())); }
    /// The only file of the cache.
    std::string cached_name() const
    {
        std::string name;
        for (const auto& entry : fs::directory_iterator{cache_.path()}) {
            EXPECT_TRUE(name.empty()) << "one filter, one file";
            name = entry.path().filename();
        }
        return name;
    }
    /// Errno of getppid(2) under the filter; 0 when it works.
    static int getppid_under(const SeccompFilter& filter)
    {
        auto child = value_of(os::fork_process({}, [&] {
            ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            if (!install_seccomp(filter, Channel{os::Fd{}})) return 255;
            return ::syscall(SYS_getppid) < 0 ? errno : 0;
        }));
        return value_of(child.wait()).code;
    }
    test::TempDir cache_;
};

TEST_F(SeccompTest, TheFilterDoesWhatTheSpecificationSays)
{
    COPPICE_NEEDS(Seccomp);
    EXPECT_EQ(getppid_under(compile(refusing({"getppid"}))), ENOTTY);
    EXPECT_EQ(getppid_under(compile(refusing({"getpgid"}))), 0);
    SeccompSpec spec = refusing({"getppid"});
    spec.rules[0].errno_ret.reset();
    EXPECT_EQ(getppid_under(compile(spec)), EPERM) << "the specification's default";
    EXPECT_EQ(getppid_under({}), 0) << "no filter";
}

TEST_F(SeccompTest, UnknownCallsAreLeftOut)
{
    COPPICE_NEEDS(Seccomp);
    EXPECT_EQ(getppid_under(compile(refusing({"call_of_the_future", "getppid"}))), ENOTTY);
}

TEST_F(SeccompTest, TheSecondTimeItComesFromTheCache)
{
    COPPICE_NEEDS(Seccomp);
    const auto spec = refusing({"getppid"});
    const auto first = compile(spec);
    EXPECT_EQ(compile(spec).program, first.program);
    // Told apart by a program that the compiler would not have made.
    const std::string name = cached_name();
    const std::string cached = cache_.read(name);
    ASSERT_TRUE(cached.ends_with(first.program));
    const auto other = value_of(compile_seccomp(refusing({"getppid"}, EXDEV), test::TempDir{}.fd()));
    cache_.write(name, cached.substr(0, cached.size() - first.program.size()) + other.program);
    EXPECT_EQ(getppid_under(compile(spec)), EXDEV);
}

TEST_F(SeccompTest, ADifferentDescriptionIsNotUsed)
{
    COPPICE_NEEDS(Seccomp);
    const auto spec = refusing({"getppid"});
    const auto first = compile(spec);
    const std::string name = cached_name();
    const std::string cached = cache_.read(name);
    // Another filter under this name, as after a collision of hashes: it allows everything.
    const test::TempDir elsewhere;
    (void)value_of(compile_seccomp(refusing({"getpgid"}), elsewhere.fd()));
    const std::string other_name = fs::directory_iterator { elsewhere.path() } -> path().filename();
    cache_.write(name, elsewhere.read(other_name));
    EXPECT_EQ(compile(spec).program, first.program);
    EXPECT_EQ(cache_.read(name), cached) << "it was replaced by the right one";
}

TEST_F(SeccompTest, ADamagedProgramIsCompiledAgain)
{
    COPPICE_NEEDS(Seccomp);
    const auto spec = refusing({"getppid"});
    const auto first = compile(spec);
    const std::string name = cached_name();
    const std::string cached = cache_.read(name);
    for (const std::string& damaged :
         {cached.substr(0, cached.size() - 3), cached.substr(0, cached.size() - first.program.size()),
          cached.substr(0, 10), std::string{}, std::string(100, '\0')}) {
        cache_.write(name, damaged);
        EXPECT_EQ(compile(spec).program, first.program) << damaged.size();
    }
}

TEST_F(SeccompTest, EverythingThatMattersIsInTheDescription)
{
    COPPICE_NEEDS(Seccomp);
    const auto base = [] { return refusing({"getppid", "personality"}); };
    std::vector<SeccompSpec> variants(7, base());
    variants[1].rules[0].errno_ret = EXDEV;
    variants[2].rules[0].action = "SCMP_ACT_LOG";
    variants[3].rules[0].names.pop_back();
    variants[4].rules[0].args.push_back({.index = 0, .value = 1, .value_two = 0, .op = "SCMP_CMP_EQ"});
    variants[5].rules[0].args.push_back({.index = 0, .value = 2, .value_two = 0, .op = "SCMP_CMP_EQ"});
    variants[6].default_action = "SCMP_ACT_LOG";
    for (const auto& variant : variants) {
        const test::TempDir fresh;
        EXPECT_EQ(compile(variant).program, value_of(compile_seccomp(variant, fresh.fd())).program);
    }
    EXPECT_EQ(std::distance(fs::directory_iterator{cache_.path()}, {}), 7);
}

TEST_F(SeccompTest, ADescriptionBelongsToOneFilterOnly)
{
    COPPICE_NEEDS(Seccomp);
    // Two words in one name are a call that does not exist: this filter forbids nothing. It may not stand in for one
    // that forbids both.
    EXPECT_EQ(getppid_under(compile(refusing({"getppid getpgid"}))), 0);
    EXPECT_EQ(getppid_under(compile(refusing({"getppid", "getpgid"}))), ENOTTY);
    SeccompSpec broken_line = refusing({"getpgid\nSCMP_ACT_ERRNO 25 getppid"});
    EXPECT_EQ(getppid_under(compile(broken_line)), 0);
    SeccompSpec two_rules = refusing({"getpgid"});
    two_rules.rules.push_back({.names = {"getppid"}, .action = "SCMP_ACT_ERRNO", .errno_ret = ENOTTY});
    EXPECT_EQ(getppid_under(compile(two_rules)), ENOTTY);
}

TEST_F(SeccompTest, ACacheThatCannotBeWrittenCostsTimeOnly)
{
    COPPICE_NEEDS(Seccomp);
    const auto filter = compile_seccomp(refusing({"getppid"}), -1);
    ASSERT_TRUE(succeeds(filter));
    EXPECT_EQ(getppid_under(*filter), ENOTTY);
}

TEST_F(SeccompTest, UnknownWordsAreRefused)
{
    SeccompSpec spec = refusing({"getppid"});
    spec.rules[0].action = "SCMP_ACT_NOTIFY";
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "SCMP_ACT_NOTIFY", compile_seccomp(spec, cache_.fd())));
    spec = refusing({"getppid"});
    spec.default_action = "ALLOW";
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "'ALLOW'", compile_seccomp(spec, cache_.fd())));
    spec = refusing({"getppid"});
    spec.architectures = {"SCMP_ARCH_PDP11"};
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "architecture", compile_seccomp(spec, cache_.fd())));
    spec = refusing({"getppid"});
    spec.flags = {"SECCOMP_FILTER_FLAG_NEW_LISTENER"};
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "NEW_LISTENER", compile_seccomp(spec, cache_.fd())));
    spec = refusing({"getppid"});
    spec.rules[0].args.push_back({.index = 0, .value = 1, .value_two = 0, .op = "=="});
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "'=='", compile_seccomp(spec, cache_.fd())));
}

} // namespace
} // namespace coppice::runtime
