#include "coppice/os/device_filter.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <cerrno>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::os {

namespace {

using Program = std::vector<bpf_insn>;

constexpr std::uint8_t kResult = BPF_REG_0, kContext = BPF_REG_1, kType = BPF_REG_2, kAccess = BPF_REG_3,
                       kMajor = BPF_REG_4, kMinor = BPF_REG_5, kScratch = BPF_REG_6;

bpf_insn instruction(int code, std::uint8_t to, std::uint8_t from, std::int16_t offset, std::int32_t value)
{
    return {.code = static_cast<std::uint8_t>(code),
            .dst_reg = static_cast<std::uint8_t>(to & 0xf),
            .src_reg = static_cast<std::uint8_t>(from & 0xf),
            .off = offset,
            .imm = value};
}

bpf_insn load(std::uint8_t to, std::int16_t offset)
{
    return instruction(BPF_LDX | BPF_MEM | BPF_W, to, kContext, offset, 0);
}

std::int32_t access_bits(const std::string& access)
{
    std::int32_t bits = 0;
    for (const char c : access)
        bits |= c == 'r' ? BPF_DEVCG_ACC_READ : c == 'w' ? BPF_DEVCG_ACC_WRITE : BPF_DEVCG_ACC_MKNOD;
    return bits;
}

void append_return(Program& program, int value)
{
    program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, kResult, 0, 0, value));
    program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
}

constexpr std::uint32_t kMinorsInSet = 31; // the constant of an instruction is a signed 32-bit number
constexpr std::int32_t kEveryAccess = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;

/// What one stretch of code looks for: one rule or several in one.
struct Match {
    bool allow = false;
    char type = 'a';
    std::optional<std::uint32_t> major;
    std::uint32_t minors = 0; ///< bit n: minor number n; 0: see `minor`
    std::optional<std::uint32_t> minor;
    std::int32_t access = 0; ///< BPF_DEVCG_ACC_*

    [[nodiscard]] bool is_everything() const
    {
        return type == 'a' && !major && minors == 0 && !minor && access == kEveryAccess;
    }
    [[nodiscard]] bool same_numbers(const Match& other) const
    {
        return major == other.major && minors == other.minors && minor == other.minor;
    }
};

Match to_match(const DeviceRule& rule)
{
    Match match{
        .allow = rule.allow, .type = rule.type, .major = rule.major, .minor = {}, .access = access_bits(rule.access)};
    if (rule.minor && *rule.minor < kMinorsInSet)
        match.minors = 1U << *rule.minor;
    else
        match.minor = rule.minor;
    return match;
}

/// "c 1:3 r" and "c 1:3 w" together allow opening for both.
bool unite_access(Match& into, const Match& other)
{
    if (into.type != other.type || !into.same_numbers(other)) return false;
    into.access |= other.access;
    return true;
}

bool unite_types(Match& into, const Match& other)
{
    if (into.access != other.access || !into.same_numbers(other)) return false;
    into.type = 'a';
    return true;
}

bool unite_minors(Match& into, const Match& other)
{
    if (into.access != other.access || into.type != other.type || into.major != other.major) return false;
    if (into.minors == 0 || other.minors == 0) return false;
    into.minors |= other.minors;
    return true;
}

/// The same in fewer stretches. Neighbours of one verdict may change places, others may not.
/// @param unite has the first match all that the second does too, or returns false
std::vector<Match> unite_neighbours(const std::vector<Match>& matches, bool (*unite)(Match&, const Match&))
{
    std::vector<Match> united;
    std::size_t run = 0; // where the neighbours of the same verdict begin
    for (const Match& match : matches) {
        if (!united.empty() && united.back().allow != match.allow) run = united.size();
        const auto first = united.begin() + static_cast<std::ptrdiff_t>(run);
        if (std::none_of(first, united.end(), [&](Match& earlier) { return unite(earlier, match); }))
            united.push_back(match);
    }
    return united;
}

/// The kernel's verifier walks every path of the program at every start of a container, so it has to be short. Access
/// first: afterwards a match can stand for several devices.
std::vector<Match> unite_all(const std::vector<DeviceRule>& rules)
{
    std::vector<Match> matches;
    matches.reserve(rules.size());
    for (const DeviceRule& rule : rules)
        matches.push_back(to_match(rule));
    for (const auto unite : {unite_access, unite_types, unite_minors})
        matches = unite_neighbours(matches, unite);
    return matches;
}

/// Code that returns the verdict when the request matches and falls through when not.
void append_match(Program& program, const Match& match)
{
    Program test;
    // Jumps below are "no match"; their offsets are patched once the length is known.
    const auto skip_if = [&](int comparison, std::uint8_t reg, std::uint32_t value) {
        test.push_back(instruction(BPF_JMP32 | comparison | BPF_K, reg, 0, 0, static_cast<std::int32_t>(value)));
    };
    if (match.type != 'a') skip_if(BPF_JNE, kType, match.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    if (match.major) skip_if(BPF_JNE, kMajor, *match.major);
    if (match.minor) skip_if(BPF_JNE, kMinor, *match.minor);
    if (match.minors != 0) {
        skip_if(BPF_JGE, kMinor, kMinorsInSet);
        test.push_back(instruction(BPF_ALU | BPF_MOV | BPF_K, kScratch, 0, 0, 1));
        test.push_back(instruction(BPF_ALU | BPF_LSH | BPF_X, kScratch, kMinor, 0, 0));
        test.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, kScratch, 0, 0, static_cast<std::int32_t>(match.minors)));
        skip_if(BPF_JEQ, kScratch, 0);
    }
    if (match.access != kEveryAccess) {
        test.push_back(instruction(BPF_ALU | BPF_MOV | BPF_X, kScratch, kAccess, 0, 0));
        // Everything asked for must be among what is allowed; one forbidden access is enough.
        const std::int32_t bits = match.allow ? ~match.access : match.access;
        test.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, kScratch, 0, 0, bits));
        skip_if(match.allow ? BPF_JNE : BPF_JEQ, kScratch, 0);
    }
    append_return(test, match.allow ? 1 : 0);
    for (std::size_t i = 0; i < test.size(); ++i)
        if ((test[i].code & 0x07) == BPF_JMP32) test[i].off = static_cast<std::int16_t>(test.size() - i - 1);
    program.insert(program.end(), test.begin(), test.end());
}

Program compile(const std::vector<DeviceRule>& rules)
{
    Program program{
        load(kAccess, offsetof(bpf_cgroup_dev_ctx, access_type)), // access << 16 | type
        instruction(BPF_ALU | BPF_MOV | BPF_X, kType, kAccess, 0, 0),
        instruction(BPF_ALU | BPF_AND | BPF_K, kType, 0, 0, 0xffff),
        instruction(BPF_ALU | BPF_RSH | BPF_K, kAccess, 0, 0, 16),
        load(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
        load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
    };
    auto matches = unite_all(rules);
    // What no rule names is refused, and so is what the first rules refuse.
    while (!matches.empty() && !matches.front().allow)
        matches.erase(matches.begin());
    for (auto match = matches.rbegin(); match != matches.rend(); ++match) { // the last word first
        append_match(program, *match);
        if (match->is_everything()) return program; // the verifier refuses code that nothing leads to
    }
    append_return(program, 0);
    return program;
}

int bpf(int command, bpf_attr& attr) { return static_cast<int>(::syscall(SYS_bpf, command, &attr, sizeof attr)); }

} // namespace

std::string to_v1_text(const DeviceRule& rule)
{
    const auto number = [](const std::optional<std::uint32_t>& value) {
        return value ? cat(*value) : std::string{"*"};
    };
    return cat(rule.type, ' ', number(rule.major), ':', number(rule.minor), ' ', rule.access);
}

Result<> attach_device_filter(int cgroup, const std::vector<DeviceRule>& rules)
{
    const Program program = compile(rules);
    constexpr const char* kLicense = "Apache-2.0";
    bpf_attr loading{};
    loading.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    loading.insns = reinterpret_cast<std::uint64_t>(program.data());
    loading.insn_cnt = static_cast<std::uint32_t>(program.size());
    loading.license = reinterpret_cast<std::uint64_t>(kLicense);
    const Fd loaded{bpf(BPF_PROG_LOAD, loading)};
    if (!loaded.is_open()) return fail_os(errno, "load the device filter");
    bpf_attr attaching{};
    attaching.target_fd = static_cast<std::uint32_t>(cgroup);
    attaching.attach_bpf_fd = static_cast<std::uint32_t>(loaded.get());
    attaching.attach_type = BPF_CGROUP_DEVICE;
    attaching.attach_flags = BPF_F_ALLOW_MULTI; // a filter of an outer cgroup goes on to hold
    if (bpf(BPF_PROG_ATTACH, attaching) < 0) return fail_os(errno, "attach the device filter to the cgroup");
    return {};
}

} // namespace coppice::os
