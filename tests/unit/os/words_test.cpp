// Words and numbers of kernel interfaces: signals, capabilities, device rules, namespaces, wait statuses.

#include "coppice/os/capability.h"
#include "coppice/os/device_filter.h"
#include "coppice/os/namespace.h"
#include "coppice/os/process.h"
#include "coppice/test/expect.h"

#include <bit>
#include <csignal>
#include <linux/capability.h>
#include <sched.h>
#include <set>

namespace coppice::os {
namespace {

using test::fails_as;
using test::value_of;

TEST(SignalTest, NamesAndNumbers)
{
    for (const char* const text : {"TERM", "SIGTERM", "term", "sigterm", "15"})
        EXPECT_EQ(value_of(parse_signal(text)), SIGTERM) << text;
    EXPECT_EQ(value_of(parse_signal("KILL")), SIGKILL);
    EXPECT_EQ(value_of(parse_signal("WINCH")), SIGWINCH);
    EXPECT_EQ(value_of(parse_signal("0")), 0);
    EXPECT_EQ(value_of(parse_signal("RTMIN")), SIGRTMIN);
    EXPECT_EQ(value_of(parse_signal("sigrtmax")), SIGRTMAX);
    EXPECT_EQ(value_of(parse_signal("SIGRTMIN+3")), SIGRTMIN + 3);
    EXPECT_EQ(value_of(parse_signal("rtmax-2")), SIGRTMAX - 2);
    EXPECT_EQ(value_of(parse_signal("64")), 64);
}

TEST(SignalTest, Refused)
{
    for (const char* const text : {"", "SIG", "TERMINATE", "-1", "65", "99999999999", "9x", "1 ", "SIGSIGTERM", "TER M",
                                   "RTMIN-1", "RTMIN+", "RTMIN+99", "RTMAX+1", "RTMAX--1"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", parse_signal(text))) << text;
}

TEST(WaitStatusTest, AsAShellCountsIt)
{
    EXPECT_EQ(decode_wait_status(3 << 8).code, 3);
    EXPECT_FALSE(decode_wait_status(3 << 8).by_signal);
    EXPECT_EQ(decode_wait_status(SIGKILL).code, 137);
    EXPECT_TRUE(decode_wait_status(SIGKILL).by_signal);
    EXPECT_EQ(decode_wait_status(SIGSEGV | 0x80).code, 139); // with a core dump
}

TEST(CapabilityNameTest, NumbersAreTheKernels)
{
    EXPECT_EQ(find_capability("CAP_CHOWN"), 1ULL << CAP_CHOWN);
    EXPECT_EQ(find_capability("CAP_SETPCAP"), 1ULL << CAP_SETPCAP);
    EXPECT_EQ(find_capability("CAP_SYS_ADMIN"), 1ULL << CAP_SYS_ADMIN);
    EXPECT_EQ(find_capability("CAP_SETFCAP"), 1ULL << CAP_SETFCAP);
    EXPECT_EQ(find_capability("CAP_MAC_ADMIN"), 1ULL << CAP_MAC_ADMIN);
    EXPECT_EQ(find_capability("CAP_CHECKPOINT_RESTORE"), 1ULL << CAP_CHECKPOINT_RESTORE);
    EXPECT_EQ(all_capability_names().size(), static_cast<std::size_t>(CAP_CHECKPOINT_RESTORE) + 1);
}

TEST(CapabilityNameTest, UnknownNamesHaveNoBit)
{
    for (const char* const name : {"", "CAP_", "CHOWN", "cap_chown", "CAP_CHOWN ", "CAP_EVERYTHING"})
        EXPECT_EQ(find_capability(name), 0U) << name;
}

TEST(CapabilityNameTest, RoundTrip)
{
    CapabilityMask all = 0;
    for (const std::string& name : all_capability_names()) {
        const CapabilityMask bit = find_capability(name);
        EXPECT_EQ(std::popcount(bit), 1) << name;
        EXPECT_EQ(all & bit, 0U) << name << " shares its number";
        EXPECT_EQ(capability_names(bit), name);
        all |= bit;
    }
    EXPECT_EQ(capability_names(find_capability("CAP_CHOWN") | find_capability("CAP_KILL")), "CAP_CHOWN CAP_KILL");
    EXPECT_EQ(capability_names(0), "");
    EXPECT_NE(supported_capabilities() & find_capability("CAP_SYS_ADMIN"), 0U);
    EXPECT_EQ(supported_capabilities() & ~all, 0U);
}

TEST(DeviceRuleTest, TextOfV1)
{
    EXPECT_EQ(to_v1_text({.allow = true, .type = 'c', .major = 1, .minor = 3, .access = "rw"}), "c 1:3 rw");
    EXPECT_EQ(to_v1_text({}), "a *:* rwm");
    EXPECT_EQ(to_v1_text({.type = 'b', .major = 8, .access = "r"}), "b 8:* r");
    EXPECT_EQ(to_v1_text({.type = 'c', .minor = 0, .access = "m"}), "c *:0 m");
}

TEST(NamespaceKindTest, WordsOfTheSpecification)
{
    EXPECT_EQ(find_namespace_kind("network")->flag, static_cast<std::uint64_t>(CLONE_NEWNET));
    EXPECT_EQ(find_namespace_kind("mount")->flag, static_cast<std::uint64_t>(CLONE_NEWNS));
    EXPECT_STREQ(find_namespace_kind("mount")->proc_name, "mnt");
    EXPECT_EQ(find_namespace_kind("net"), nullptr);
    EXPECT_EQ(find_namespace_kind(""), nullptr);
    EXPECT_STREQ(namespace_kinds().front().oci_name, "user"); // it gives the rights for the others
    std::set<std::uint64_t> flags;
    for (const NamespaceKind& kind : namespace_kinds())
        flags.insert(kind.flag);
    EXPECT_EQ(flags.size(), 8U);
}

TEST(StartTimeTest, OwnIsKnownAndNobodysIsNot)
{
    const auto own = value_of(process_start_time(::getpid()));
    ASSERT_TRUE(own.has_value());
    EXPECT_GT(*own, 0U);
    EXPECT_EQ(value_of(process_start_time(::getpid())), own);
    EXPECT_FALSE(value_of(process_start_time(0x7fffffff)).has_value());
}

} // namespace
} // namespace coppice::os
