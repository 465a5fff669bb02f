#include "coppice/os/capability.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/os/file.h"

#include <array>
#include <cerrno>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::os {

namespace {

// Index is the capability's number. Source: linux/capability.h
constexpr std::array<std::string_view, 41> kNames{"CAP_CHOWN",
                                                  "CAP_DAC_OVERRIDE",
                                                  "CAP_DAC_READ_SEARCH",
                                                  "CAP_FOWNER",
                                                  "CAP_FSETID",
                                                  "CAP_KILL",
                                                  "CAP_SETGID",
                                                  "CAP_SETUID",
                                                  "CAP_SETPCAP",
                                                  "CAP_LINUX_IMMUTABLE",
                                                  "CAP_NET_BIND_SERVICE",
                                                  "CAP_NET_BROADCAST",
                                                  "CAP_NET_ADMIN",
                                                  "CAP_NET_RAW",
                                                  "CAP_IPC_LOCK",
                                                  "CAP_IPC_OWNER",
                                                  "CAP_SYS_MODULE",
                                                  "CAP_SYS_RAWIO",
                                                  "CAP_SYS_CHROOT",
                                                  "CAP_SYS_PTRACE",
                                                  "CAP_SYS_PACCT",
                                                  "CAP_SYS_ADMIN",
                                                  "CAP_SYS_BOOT",
                                                  "CAP_SYS_NICE",
                                                  "CAP_SYS_RESOURCE",
                                                  "CAP_SYS_TIME",
                                                  "CAP_SYS_TTY_CONFIG",
                                                  "CAP_MKNOD",
                                                  "CAP_LEASE",
                                                  "CAP_AUDIT_WRITE",
                                                  "CAP_AUDIT_CONTROL",
                                                  "CAP_SETFCAP",
                                                  "CAP_MAC_OVERRIDE",
                                                  "CAP_MAC_ADMIN",
                                                  "CAP_SYSLOG",
                                                  "CAP_WAKE_ALARM",
                                                  "CAP_BLOCK_SUSPEND",
                                                  "CAP_AUDIT_READ",
                                                  "CAP_PERFMON",
                                                  "CAP_BPF",
                                                  "CAP_CHECKPOINT_RESTORE"};

struct CapData { // two 32-bit halves, as capset(2) version 3 wants them
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    std::array<__user_cap_data_struct, 2> halves{};
};

std::uint64_t join(std::uint32_t low, std::uint32_t high) { return low | (static_cast<std::uint64_t>(high) << 32); }

Result<CapData> get_data()
{
    CapData data;
    if (::syscall(SYS_capget, &data.header, data.halves.data()) < 0) return fail_os(errno, "read capabilities");
    return data;
}

} // namespace

CapabilityMask find_capability(std::string_view name)
{
    for (std::size_t i = 0; i < kNames.size(); ++i)
        if (kNames[i] == name) return 1ULL << i;
    return 0;
}

const std::vector<std::string>& all_capability_names()
{
    static const std::vector<std::string> kAll{kNames.begin(), kNames.end()};
    return kAll;
}

std::string capability_names(CapabilityMask mask)
{
    std::string names;
    for (std::size_t i = 0; i < kNames.size(); ++i)
        if (mask & (1ULL << i)) names += cat(names.empty() ? "" : " ", kNames[i]);
    return names;
}

namespace {

CapabilityMask read_supported_capabilities()
{
    constexpr CapabilityMask kKnown = (1ULL << kNames.size()) - 1;
    const auto text = read_file(kCwd, "/proc/sys/kernel/cap_last_cap", 64);
    if (!text) return kKnown;
    const auto last = parse_integer(std::string_view{*text}.substr(0, text->find('\n')), 0, 62);
    return last ? kKnown & ((2ULL << *last) - 1) : kKnown;
}

} // namespace

CapabilityMask supported_capabilities()
{
    static const CapabilityMask kSupported = read_supported_capabilities();
    return kSupported;
}

Result<CapabilitySets> current_capabilities()
{
    const auto data = TRY(get_data());
    CapabilitySets sets;
    sets.effective = join(data.halves[0].effective, data.halves[1].effective);
    sets.permitted = join(data.halves[0].permitted, data.halves[1].permitted);
    sets.inheritable = join(data.halves[0].inheritable, data.halves[1].inheritable);
    for (std::size_t i = 0; i < kNames.size(); ++i) {
        if (::prctl(PR_CAPBSET_READ, i) == 1) sets.bounding |= 1ULL << i;
        if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1) sets.ambient |= 1ULL << i;
    }
    return sets;
}

Result<> limit_bounding_set(CapabilityMask keep)
{
    // Numbers beyond our table go too: a newer kernel's capability is not one that anybody asked to keep.
    for (unsigned long i = 0; i < 64; ++i) {
        if (i < kNames.size() && (keep & (1ULL << i))) continue;
        if (::prctl(PR_CAPBSET_DROP, i) == 0) continue;
        if (errno == EINVAL && i > 0) break; // past the kernel's last one
        return fail_os(errno, cat("drop capability ", i, " from the bounding set"));
    }
    return {};
}

Result<> set_capabilities(const CapabilitySets& sets)
{
    CapData data;
    const auto low = [](CapabilityMask mask) { return static_cast<std::uint32_t>(mask); };
    const auto high = [](CapabilityMask mask) { return static_cast<std::uint32_t>(mask >> 32); };
    data.halves[0] = {low(sets.effective), low(sets.permitted), low(sets.inheritable)};
    data.halves[1] = {high(sets.effective), high(sets.permitted), high(sets.inheritable)};
    if (::syscall(SYS_capset, &data.header, data.halves.data()) < 0) {
        const int number = errno;
        Error error = Error::os(number, "set capabilities");
        const auto have = current_capabilities();
        if (number == EPERM && have)
            error =
                std::move(error).hint(cat("not available here: ", capability_names(sets.permitted & ~have->permitted)));
        return fail(std::move(error));
    }
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return fail_os(errno, "clear the ambient capabilities");
    // Only what is permitted and inheritable can be ambient: runc's own example asks for more, and gets this.
    const CapabilityMask ambient = sets.ambient & sets.permitted & sets.inheritable;
    for (unsigned long i = 0; i < kNames.size(); ++i)
        if ((ambient & (1ULL << i)) && ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
            return fail_os(errno, cat("raise the ambient capability ", kNames[i]));
    return {};
}

Result<> raise_effective_capabilities()
{
    auto data = TRY(get_data());
    for (auto& half : data.halves)
        half.effective = half.permitted;
    if (::syscall(SYS_capset, &data.header, data.halves.data()) < 0) return fail_os(errno, "raise capabilities");
    return {};
}

} // namespace coppice::os
