#include "coppice/os/device_filter.h"

#include "coppice/base/text.h"

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

/// Code that returns the rule's verdict when the request matches and falls through when not.
void append_rule(Program& program, const DeviceRule& rule)
{
    Program test;
    // Jumps below are "not this rule"; their offsets are patched once the length is known.
    const auto skip_unless = [&](std::uint8_t reg, std::uint32_t value) {
        test.push_back(instruction(BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, 0, static_cast<std::int32_t>(value)));
    };
    if (rule.type != 'a') skip_unless(kType, rule.type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
    if (rule.major) skip_unless(kMajor, *rule.major);
    if (rule.minor) skip_unless(kMinor, *rule.minor);
    const std::int32_t bits = access_bits(rule.access);
    test.push_back(instruction(BPF_ALU | BPF_MOV | BPF_X, kScratch, kAccess, 0, 0));
    if (rule.allow) { // everything asked for must be among what is allowed
        test.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, kScratch, 0, 0, ~bits));
        test.push_back(instruction(BPF_JMP32 | BPF_JNE | BPF_K, kScratch, 0, 0, 0));
    } else { // one forbidden access is enough
        test.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, kScratch, 0, 0, bits));
        test.push_back(instruction(BPF_JMP32 | BPF_JEQ | BPF_K, kScratch, 0, 0, 0));
    }
    append_return(test, rule.allow ? 1 : 0);
    for (std::size_t i = 0; i < test.size(); ++i)
        if ((test[i].code & 0x07) == BPF_JMP32) test[i].off = static_cast<std::int16_t>(test.size() - i - 1);
    program.insert(program.end(), test.begin(), test.end());
}

/// "c 1:3 r" and "c 1:3 w" together allow opening for both: neighbours that differ only in access become one.
std::vector<DeviceRule> merge(const std::vector<DeviceRule>& rules)
{
    std::vector<DeviceRule> merged;
    for (const DeviceRule& rule : rules) {
        if (!merged.empty()) {
            DeviceRule& last = merged.back();
            if (last.allow == rule.allow && last.type == rule.type && last.major == rule.major &&
                last.minor == rule.minor) {
                last.access += rule.access;
                continue;
            }
        }
        merged.push_back(rule);
    }
    return merged;
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
    const auto merged = merge(rules);
    for (auto rule = merged.rbegin(); rule != merged.rend(); ++rule) // the last word first
        append_rule(program, *rule);
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
