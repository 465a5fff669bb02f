#include "syscall_filter.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <array>
#include <cerrno>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <map>
#include <memory>
#include <seccomp.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace coppice::runtime {

namespace {

constexpr std::size_t kMaxInstructions = 4096; // BPF_MAXINSNS
constexpr unsigned kDefaultErrno = EPERM;      // what the specification says where no number is given

template <typename Value> Result<Value> look_up(const std::map<std::string_view, Value>& table, const std::string& word)
{
    const auto found = table.find(word);
    if (found == table.end()) return fail(ErrorKind::Invalid, cat("linux.seccomp: unknown word '", word, "'"));
    return found->second;
}

Result<std::uint32_t> action_of(const std::string& word, std::optional<unsigned> errno_ret)
{
    static const std::map<std::string_view, std::uint32_t> kActions{{"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
                                                                    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
                                                                    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
                                                                    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
                                                                    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
                                                                    {"SCMP_ACT_LOG", SCMP_ACT_LOG}};
    if (word == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(errno_ret.value_or(kDefaultErrno));
    if (word == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(errno_ret.value_or(kDefaultErrno));
    return look_up(kActions, word);
}

Result<scmp_arg_cmp> comparison_of(const SeccompArg& arg)
{
    static const std::map<std::string_view, scmp_compare> kOperators{{"SCMP_CMP_NE", SCMP_CMP_NE},
                                                                     {"SCMP_CMP_LT", SCMP_CMP_LT},
                                                                     {"SCMP_CMP_LE", SCMP_CMP_LE},
                                                                     {"SCMP_CMP_EQ", SCMP_CMP_EQ},
                                                                     {"SCMP_CMP_GE", SCMP_CMP_GE},
                                                                     {"SCMP_CMP_GT", SCMP_CMP_GT},
                                                                     {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
    const auto op = TRY(look_up(kOperators, arg.op));
    return scmp_arg_cmp{.arg = arg.index, .op = op, .datum_a = arg.value, .datum_b = arg.value_two};
}

Result<std::uint32_t> architecture_of(std::string word)
{
    // SCMP_ARCH_X86_64 -> x86_64, the word that libseccomp resolves
    if (word.starts_with("SCMP_ARCH_")) word.erase(0, 10);
    for (char& c : word)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    const auto token = ::seccomp_arch_resolve_name(word.c_str());
    if (token == 0) return fail(ErrorKind::Invalid, cat("linux.seccomp: unknown architecture '", word, "'"));
    return token;
}

Result<unsigned> flags_of(const SeccompSpec& spec)
{
    static const std::map<std::string_view, unsigned> kFlags{
        {"SECCOMP_FILTER_FLAG_TSYNC", 0}, // single-threaded: nothing to synchronise
        {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
        {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW}};
    unsigned flags = 0;
    for (const std::string& word : spec.flags)
        flags |= TRY(look_up(kFlags, word));
    return flags;
}

using Context = std::unique_ptr<void, void (*)(scmp_filter_ctx)>;

Result<> add_rule(const Context& context, const SeccompRule& rule, std::uint32_t default_action)
{
    const auto action = TRY(action_of(rule.action, rule.errno_ret));
    if (action == default_action) return {}; // libseccomp refuses what changes nothing
    std::vector<scmp_arg_cmp> comparisons;
    comparisons.reserve(rule.args.size());
    for (const SeccompArg& arg : rule.args)
        comparisons.push_back(TRY(comparison_of(arg)));
    for (const std::string& name : rule.names) {
        const int number = ::seccomp_syscall_resolve_name(name.c_str());
        if (number == __NR_SCMP_ERROR) continue;
        const int failed = ::seccomp_rule_add_array(context.get(), action, number,
                                                    static_cast<unsigned>(comparisons.size()), comparisons.data());
        if (failed != 0) return fail_os(-failed, cat("linux.seccomp: rule for ", name));
    }
    return {};
}

Result<std::string> compile(const SeccompSpec& spec)
{
    const auto default_action = TRY(action_of(spec.default_action, spec.default_errno_ret));
    const Context context{::seccomp_init(default_action), &::seccomp_release};
    if (!context) return fail(ErrorKind::Invalid, "linux.seccomp: the default action is not usable");
    for (const std::string& word : spec.architectures) {
        const auto token = TRY(architecture_of(word));
        const int failed = ::seccomp_arch_add(context.get(), token);
        if (failed != 0 && failed != -EEXIST) return fail_os(-failed, cat("linux.seccomp: architecture ", word));
    }
    // A binary tree loads faster and is walked in logarithmic time; it costs compile time, which the cache saves.
    ::seccomp_attr_set(context.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (const SeccompRule& rule : spec.rules)
        TRY(add_rule(context, rule, default_action));
    const os::Fd memory{::memfd_create("coppice-seccomp", MFD_CLOEXEC)}; // 2.5 exports to a descriptor only
    if (!memory.is_open()) return fail_os(errno, "create memory for a filter");
    if (const int failed = ::seccomp_export_bpf(context.get(), memory.get()); failed != 0)
        return fail_os(-failed, "linux.seccomp: compile");
    if (::lseek(memory.get(), 0, SEEK_SET) < 0) return fail_os(errno, "read a compiled filter");
    return os::read_all(memory, kMaxInstructions * sizeof(sock_filter), "a compiled filter");
}

/// Everything that the compiled program depends on, as text. Every word carries its length, so that none can imitate
/// another place of the description.
std::string describe(const SeccompSpec& spec)
{
    const auto word = [](const std::string& text) { return cat(' ', text.size(), ':', text); };
    const scmp_version* const version = ::seccomp_version();
    std::string text =
        cat("libseccomp ", version->major, '.', version->minor, '.', version->micro, " arch ", ::seccomp_arch_native(),
            '\n', word(spec.default_action), ' ', spec.default_errno_ret.value_or(kDefaultErrno));
    for (const std::string& architecture : spec.architectures)
        text += word(architecture);
    for (const SeccompRule& rule : spec.rules) {
        text += cat('\n', word(rule.action), ' ', rule.errno_ret.value_or(kDefaultErrno));
        for (const SeccompArg& arg : rule.args)
            text += cat(" [", arg.index, word(arg.op), ' ', arg.value, ' ', arg.value_two, ']');
        for (const std::string& name : rule.names)
            text += word(name);
    }
    text += '\n';
    return text;
}

/// FNV-1a; it only picks the file's name, the whole description decides.
std::uint64_t hash_of(std::string_view text)
{
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    for (const char c : text)
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    return hash;
}

} // namespace

Result<SeccompFilter> compile_seccomp(const SeccompSpec& spec, int cache)
{
    SeccompFilter filter{.program = {}, .flags = TRY(flags_of(spec))};
    const std::string description = describe(spec);
    const std::string name =
        cat(".seccomp-", hash_of(description)); // no container can have a name with this first byte
    const auto cached = os::read_file(cache, name, 1U << 20);
    if (cached && cached->starts_with(description)) {
        filter.program = cached->substr(description.size());
        if (!filter.program.empty() && filter.program.size() % sizeof(sock_filter) == 0) return filter;
    }
    filter.program = TRY(compile(spec));
    // A cache that cannot be written costs time, not safety: the filter itself is in hand.
    [[maybe_unused]] const auto kept = os::replace_file(cache, name, description + filter.program);
    return filter;
}

Result<> install_seccomp(const SeccompFilter& filter)
{
    if (filter.program.empty()) return {};
    const sock_fprog program{.len = static_cast<unsigned short>(filter.program.size() / sizeof(sock_filter)),
                             .filter = reinterpret_cast<sock_filter*>(const_cast<char*>(filter.program.data()))};
    if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter.flags, &program) < 0)
        return fail_os(errno, "install the system call filter");
    return {};
}

} // namespace coppice::runtime
