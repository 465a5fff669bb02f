#include "syscall_filter.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/runtime/features.h"
#include "listener.h"

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

constexpr std::string_view kCachePrefix = ".seccomp-"; // no container can have a name with this first byte

constexpr std::size_t kMaxInstructions = 4096; // BPF_MAXINSNS
constexpr unsigned kDefaultErrno = EPERM;      // what the specification says where no number is given

template <typename Value> Result<Value> look_up(const std::map<std::string_view, Value>& table, const std::string& word)
{
    const auto found = table.find(word);
    if (found == table.end()) return fail(ErrorKind::Invalid, cat("linux.seccomp: unknown word '", word, "'"));
    return found->second;
}

// An errno, or a tracer's message, goes in the lower bits of the two that take one.
const std::map<std::string_view, std::uint32_t>& actions()
{
    static const std::map<std::string_view, std::uint32_t> kActions{{"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
                                                                    {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
                                                                    {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
                                                                    {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
                                                                    {"SCMP_ACT_ERRNO", SCMP_ACT_ERRNO(0)},
                                                                    {"SCMP_ACT_TRACE", SCMP_ACT_TRACE(0)},
                                                                    {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
                                                                    {"SCMP_ACT_LOG", SCMP_ACT_LOG},
                                                                    {"SCMP_ACT_NOTIFY", SCMP_ACT_NOTIFY}};
    return kActions;
}

Result<std::uint32_t> action_of(const std::string& word, std::optional<unsigned> errno_ret)
{
    const auto action = TRY(look_up(actions(), word));
    const bool takes_number = action == SCMP_ACT_ERRNO(0) || action == SCMP_ACT_TRACE(0);
    return takes_number ? action | errno_ret.value_or(kDefaultErrno) : action;
}

const std::map<std::string_view, scmp_compare>& operators()
{
    static const std::map<std::string_view, scmp_compare> kOperators{{"SCMP_CMP_NE", SCMP_CMP_NE},
                                                                     {"SCMP_CMP_LT", SCMP_CMP_LT},
                                                                     {"SCMP_CMP_LE", SCMP_CMP_LE},
                                                                     {"SCMP_CMP_EQ", SCMP_CMP_EQ},
                                                                     {"SCMP_CMP_GE", SCMP_CMP_GE},
                                                                     {"SCMP_CMP_GT", SCMP_CMP_GT},
                                                                     {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ}};
    return kOperators;
}

Result<scmp_arg_cmp> comparison_of(const SeccompArg& arg)
{
    const auto op = TRY(look_up(operators(), arg.op));
    return scmp_arg_cmp{.arg = arg.index, .op = op, .datum_a = arg.value, .datum_b = arg.value_two};
}

// Every architecture of the specification.
constexpr std::array<std::string_view, 21> kArchitectures{
    "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM",       "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",     "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",  "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL",      "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",  "SCMP_ARCH_PARISC64",  "SCMP_ARCH_PPC",         "SCMP_ARCH_PPC64",    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390",      "SCMP_ARCH_S390X",       "SCMP_ARCH_X32",      "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64"};

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

constexpr unsigned kWaitKillable = 1U << 5; // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19

const std::map<std::string_view, unsigned>& flags()
{
    static const std::map<std::string_view, unsigned> kFlags{
        {"SECCOMP_FILTER_FLAG_TSYNC", 0}, // single-threaded: nothing to synchronise
        {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
        {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
        {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", kWaitKillable}};
    return kFlags;
}

Result<unsigned> flags_of(const SeccompSpec& spec)
{
    unsigned all = 0;
    for (const std::string& word : spec.flags)
        all |= TRY(look_up(flags(), word));
    bool asks = false;
    for (const SeccompRule& rule : spec.rules)
        asks = asks || rule.action == "SCMP_ACT_NOTIFY";
    if (spec.default_action == "SCMP_ACT_NOTIFY")
        return fail(ErrorKind::Invalid, "linux.seccomp: SCMP_ACT_NOTIFY cannot be the default action");
    if (asks && spec.listener_path.empty())
        return fail(ErrorKind::Invalid, "linux.seccomp: SCMP_ACT_NOTIFY needs a listenerPath");
    if (asks) return all | SECCOMP_FILTER_FLAG_NEW_LISTENER;
    return all & ~kWaitKillable; // of a listener only
}

/// Whether this kernel takes a flag: with a filter that is nowhere it would be EFAULT, else EINVAL.
bool kernel_takes(unsigned flag)
{
    const unsigned listener = flag == kWaitKillable ? SECCOMP_FILTER_FLAG_NEW_LISTENER : 0;
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flag | listener, nullptr) < 0 && errno == EFAULT;
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
    // libseccomp takes one condition for an argument. Several of them are alternatives, as every runtime has it.
    std::vector<std::vector<scmp_arg_cmp>> alternatives{comparisons};
    std::uint64_t arguments = 0;
    bool twice = false;
    for (const scmp_arg_cmp& comparison : comparisons) {
        twice = twice || (arguments & (1ULL << comparison.arg)) != 0;
        arguments |= 1ULL << comparison.arg;
    }
    if (twice) {
        alternatives.clear();
        for (const scmp_arg_cmp& comparison : comparisons)
            alternatives.push_back({comparison});
    }
    for (const std::string& name : rule.names) {
        const int number = ::seccomp_syscall_resolve_name(name.c_str());
        if (number == __NR_SCMP_ERROR) continue;
        for (const auto& together : alternatives) {
            const int failed = ::seccomp_rule_add_array(context.get(), action, number,
                                                        static_cast<unsigned>(together.size()), together.data());
            if (failed != 0) return fail_os(-failed, cat("linux.seccomp: rule for ", name));
        }
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
    std::string text = cat("libseccomp ", libseccomp_version(), " arch ", ::seccomp_arch_native(), '\n',
                           word(spec.default_action), ' ', spec.default_errno_ret.value_or(kDefaultErrno));
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

/// A file without a name until it is complete: whoever is killed leaves none.
Result<> keep(int cache, const std::string& name, const std::string& content)
{
    constexpr std::size_t kMost = 64; // generated profiles must not fill the directory
    auto files = TRY(os::list_directory(cache, "."));
    std::erase_if(files, [](const std::string& file) { return !file.starts_with(kCachePrefix); });
    if (files.size() >= kMost)
        for (const std::string& file : files)
            TRY(os::remove_file(cache, file));
    const auto file = TRY(os::open_at(cache, ".", O_TMPFILE | O_WRONLY, 0600));
    TRY(os::write_all(file.get(), content, name));
    TRY(os::remove_file(cache, name)); // one of another description
    if (::linkat(os::kCwd, os::path_of(file.get()).c_str(), cache, name.c_str(), AT_SYMLINK_FOLLOW) < 0)
        return fail_os(errno, cat("keep ", name));
    return {};
}

} // namespace

Result<SeccompFilter> compile_seccomp(const SeccompSpec& spec, int cache)
{
    SeccompFilter filter{.program = {}, .flags = TRY(flags_of(spec))};
    const std::string description = describe(spec);
    const std::string name = cat(kCachePrefix, hash_of(description)); // the whole description decides
    const auto cached = os::read_file(cache, name, 1U << 20);
    if (cached && cached->starts_with(description)) {
        filter.program = cached->substr(description.size());
        if (!filter.program.empty() && filter.program.size() % sizeof(sock_filter) == 0) return filter;
    }
    filter.program = TRY(compile(spec));
    // A cache that cannot be written costs time, not safety: the filter itself is in hand.
    [[maybe_unused]] const auto kept = keep(cache, name, description + filter.program);
    return filter;
}

std::string encode(const SeccompFilter& filter)
{
    return static_cast<char>(filter.flags) + filter.program; // all flags that there are fit
}

SeccompFilter decode_filter(const std::string& bytes)
{
    if (bytes.empty()) return {};
    return {.program = bytes.substr(1), .flags = static_cast<unsigned char>(bytes.front())};
}

Result<> install_seccomp(const SeccompFilter& filter, const Channel& peer)
{
    if (filter.program.empty()) return {};
    const sock_fprog program{.len = static_cast<unsigned short>(filter.program.size() / sizeof(sock_filter)),
                             .filter = reinterpret_cast<sock_filter*>(const_cast<char*>(filter.program.data()))};
    const bool asks = (filter.flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0;
    const int expected = asks ? TRY(announce_listener(peer)) : 0;
    const auto result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, filter.flags, &program);
    if (result < 0) {
        const int number = errno;
        Error error = Error::os(number, "install the system call filter");
        if (number == EINVAL) error = std::move(error).hint("this kernel may lack one of linux.seccomp.flags");
        return fail(std::move(error));
    }
    if (!asks) return {};
    COPPICE_CHECK(result == expected);
    return wait_for_hand_over(peer);
}

SeccompWords known_seccomp_words()
{
    SeccompWords words;
    for (const auto& [name, action] : actions())
        words.actions.emplace_back(name);
    for (const auto& [name, op] : operators())
        words.operators.emplace_back(name);
    for (const std::string_view name : kArchitectures)
        if (architecture_of(std::string{name})) words.architectures.emplace_back(name);
    for (const auto& [name, flag] : flags()) {
        words.flags.emplace_back(name);
        if (kernel_takes(flag)) words.supported_flags.emplace_back(name);
    }
    return words;
}

std::string libseccomp_version()
{
    const scmp_version* const version = ::seccomp_version();
    return cat(version->major, '.', version->minor, '.', version->micro);
}

} // namespace coppice::runtime
