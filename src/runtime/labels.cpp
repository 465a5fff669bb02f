#include "labels.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/mount.h"

namespace coppice::runtime {

namespace {

bool apparmor_is_on()
{
    const auto enabled = os::read_file(os::kCwd, "/sys/module/apparmor/parameters/enabled", 16);
    return enabled && enabled->starts_with('Y');
}

} // namespace

Result<ExecLabels> ExecLabels::open(const ProcessSpec& process)
{
    ExecLabels labels;
    // A kernel without AppArmor runs everything unconfined.
    const bool confined =
        !process.apparmor_profile.empty() && (process.apparmor_profile != "unconfined" || apparmor_is_on());
    if (confined) {
        if (!apparmor_is_on())
            return fail(
                ErrorKind::Unsupported,
                cat("process.apparmorProfile: this kernel has no AppArmor (CONFIG_SECURITY_APPARMOR), profile '",
                    process.apparmor_profile, "' cannot be applied"));
        auto file = open_label_file("apparmor/exec"); // Linux 5.8: its own, so that two modules can be on at once
        if (!file && file.error().kind() == ErrorKind::NotFound) file = open_label_file("exec");
        labels.apparmor_ = TRY_DOING("process.apparmorProfile", std::move(file));
        labels.profile_ = process.apparmor_profile;
    }
    if (!process.selinux_label.empty()) {
        if (!selinux_is_on())
            return fail(
                ErrorKind::Unsupported,
                cat("process.selinuxLabel: SELinux is disabled or not part of this kernel (CONFIG_SECURITY_SELINUX"
                    "), label '",
                    process.selinux_label, "' cannot be applied"));
        labels.selinux_ = TRY_DOING("process.selinuxLabel", open_label_file("exec"));
        labels.label_ = process.selinux_label;
    }
    return labels;
}

Result<os::Fd> open_label_file(const std::string& name)
{
    const auto proc = TRY(os::open_at(os::kCwd, "/proc", O_PATH | O_DIRECTORY));
    struct stat status{};
    constexpr ino_t kProcRoot = 1;
    if (::fstat(proc.get(), &status) < 0) return fail_os(errno, "stat /proc");
    if (TRY(os::file_system_magic(proc.get())) != os::kProcMagic || status.st_ino != kProcRoot)
        return fail(ErrorKind::Denied, "/proc is not the kernel's own");
    return os::open_on_mount(proc.get(), cat("self/attr/", name), O_WRONLY);
}

Result<> ExecLabels::write() const
{
    if (apparmor_.is_open()) {
        auto written = os::write_all(apparmor_.get(), cat("exec ", profile_), profile_);
        if (!written && written.error().kind() == ErrorKind::NotFound)
            return fail(Error{ErrorKind::Unavailable,
                              cat("process.apparmorProfile: AppArmor profile '", profile_, "' is not loaded")}
                            .hint("load it with apparmor_parser"));
        TRY_DOING("apply AppArmor profile", std::move(written));
    }
    if (selinux_.is_open()) TRY_DOING("apply SELinux label", os::write_all(selinux_.get(), label_, label_));
    return {};
}

bool selinux_is_on()
{
    constexpr std::uint64_t kSelinuxMagic = 0xf97cff8c;
    const auto directory = os::open_at(os::kCwd, "/sys/fs/selinux", O_PATH | O_DIRECTORY);
    if (!directory) return false;
    const auto magic = os::file_system_magic(directory->get());
    return magic && *magic == kSelinuxMagic;
}

} // namespace coppice::runtime
