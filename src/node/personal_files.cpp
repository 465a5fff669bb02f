#include "personal_files.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <initializer_list>

namespace coppice::node {

namespace {

using security::SshKeyForm;
using Kind = SshKeyForm::Kind;

constexpr const char* kSshDirectory = "/etc/ssh";
constexpr std::size_t kPublicKeyMaxBytes = 16'384;
constexpr std::size_t kMostLeases = 64; ///< of one client

struct NamedFiles {
    const char* directory;
    std::initializer_list<const char*> names;
};

constexpr std::array<NamedFiles, 7> kPassing{{
    {"/var/lib/systemd", {"random-seed", "credential.secret"}},
    {"/var/lib/urandom", {"random-seed"}},                   // sysvinit
    {"/var/lib/seedrng", {"seed.credit", "seed.no-credit"}}, // Alpine
    {"/var/lib/NetworkManager", {"secret_key"}},             // addresses are derived from it
    {"/var/lib/dhcpcd", {"duid", "secret"}},
    {"/etc", {"dhcpcd.duid", "dhcpcd.secret"}},
    {kSshDirectory,
     {"ssh_host_dsa_key", "ssh_host_dsa_key.pub", "ssh_host_rsa_key-cert.pub", "ssh_host_ecdsa_key-cert.pub",
      "ssh_host_ed25519_key-cert.pub"}},
}};

/// What a DHCP client was given. A server's leases are data and not identity.
struct Leases {
    const char* directory;
    std::string_view begins;
};
constexpr std::array<Leases, 4> kLeases{{{"/var/lib/dhcp", "dhclient"},
                                         {"/var/lib/dhclient", "dhclient"},
                                         {"/var/lib/NetworkManager", ""},
                                         {"/var/lib/dhcpcd", ""}}};

struct KeyKind {
    const char* name;
    SshKeyForm usual; ///< what ssh-keygen makes
};
constexpr std::array<KeyKind, 3> kKeyKinds{{{"ssh_host_rsa_key", {.kind = Kind::Rsa, .bits = 3072}},
                                            {"ssh_host_ecdsa_key", {.kind = Kind::Ecdsa, .bits = 256}},
                                            {"ssh_host_ed25519_key", {.kind = Kind::Ed25519, .bits = 256}}}};

/// Not open: there is none, or what leads to it is none.
Result<os::Fd> find_directory(const os::Fd& root, const std::string& path)
{
    auto opened = os::open_in_root(root.get(), path, O_RDONLY | O_DIRECTORY);
    if (opened) return opened;
    switch (opened.error().os_errno()) {
    case EACCES: // its owner has no id in the instance, whose root may not enter it either
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case EXDEV: return os::Fd{};
    default: return opened;
    }
}

enum class At : unsigned char { Nothing, File, Other };

Result<At> look_at(const os::Fd& directory, const std::string& name)
{
    const auto status = TRY(os::find_status(directory.get(), name, false));
    if (!status) return At::Nothing;
    return S_ISREG(status->st_mode) ? At::File : At::Other;
}

struct Place {
    os::Fd directory; ///< may not be open
    std::string name;
};

Result<Place> find_place(const os::Fd& root, const std::string& path)
{
    const auto slash = path.find_last_of('/');
    auto directory = TRY(find_directory(root, path.substr(0, slash)));
    return Place{std::move(directory), path.substr(slash + 1)};
}

Result<std::optional<std::string>> read_in(const os::Fd& directory, const std::string& name, std::size_t most)
{
    const auto status = TRY(os::find_status(directory.get(), name, false));
    // Before it is opened, which a FIFO or a device may answer to; and before there is memory for what a hole promises.
    if (!status || !S_ISREG(status->st_mode) || static_cast<std::uint64_t>(status->st_size) > most)
        return std::optional<std::string>{};
    const auto file = TRY(os::open_at(directory.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK));
    return TRY(os::read_all(file, most, name));
}

Result<std::optional<HostKey>> find_host_key(const os::Fd& directory, const KeyKind& kind)
{
    if (TRY(look_at(directory, kind.name)) != At::File) return std::optional<HostKey>{};
    HostKey key{.path = cat(kSshDirectory, '/', kind.name), .form = kind.usual};
    const std::string beside = cat(kind.name, ".pub");
    key.has_public = TRY(look_at(directory, beside)) != At::Other;
    const auto text = TRY(read_in(directory, beside, kPublicKeyMaxBytes));
    const auto form = text ? security::find_ssh_form(*text) : std::nullopt;
    if (form && form->kind == kind.usual.kind) key.form = *form;
    return key;
}

Result<> find_host_keys(const os::Fd& root, std::vector<HostKey>& found)
{
    const auto directory = TRY(find_directory(root, kSshDirectory));
    if (!directory.is_open()) return {};
    for (const KeyKind& kind : kKeyKinds)
        if (auto key = TRY(find_host_key(directory, kind))) found.push_back(*std::move(key));
    return {};
}

Result<> find_passing(const os::Fd& root, std::vector<std::string>& found)
{
    for (const NamedFiles& files : kPassing) {
        const auto directory = TRY(find_directory(root, files.directory));
        if (!directory.is_open()) continue;
        for (const char* const name : files.names)
            if (TRY(look_at(directory, name)) == At::File) found.push_back(cat(files.directory, '/', name));
    }
    return {};
}

bool is_lease(const std::string& name, std::string_view begins)
{
    return name.starts_with(begins) && name.find(".lease") != std::string::npos && check_name(name).has_value();
}

Result<> find_leases(const os::Fd& root, std::vector<std::string>& found)
{
    for (const Leases& leases : kLeases) {
        const auto directory = TRY(find_directory(root, leases.directory));
        if (!directory.is_open()) continue;
        std::size_t left = kMostLeases;
        for (const std::string& name : TRY(os::list_directory(directory.get(), ".")))
            if (is_lease(name, leases.begins) && TRY(look_at(directory, name)) == At::File && left > 0) {
                found.push_back(cat(leases.directory, '/', name));
                --left;
            }
    }
    return {};
}

mode_t mode_of(const std::string& path)
{
    if (path.ends_with("/machine-id")) return 0444;
    return path.starts_with(kSshDirectory) && !path.ends_with(".pub") ? 0600 : 0644;
}

} // namespace

Result<PersonalFiles> find_personal_files(const os::Fd& root)
{
    PersonalFiles found;
    const auto host_name = TRY(find_place(root, kHostNameFile));
    found.host_name = host_name.directory.is_open() && TRY(look_at(host_name.directory, host_name.name)) != At::Other;
    TRY(find_host_keys(root, found.host_keys));
    for (const char* const path : {"/var/lib/dbus/machine-id", "/etc/machine-id"}) {
        const auto place = TRY(find_place(root, path));
        if (place.directory.is_open() && TRY(look_at(place.directory, place.name)) == At::File)
            found.machine_ids.emplace_back(path);
    }
    TRY(find_passing(root, found.passing));
    TRY(find_leases(root, found.passing));
    return found;
}

Result<std::optional<std::string>> read_personal_file(const os::Fd& root, const std::string& path, std::size_t most)
{
    const auto place = TRY(find_place(root, path));
    if (!place.directory.is_open()) return std::optional<std::string>{};
    return read_in(place.directory, place.name, most);
}

Result<> change_personal_file(const os::Fd& root, const std::string& path, const std::optional<std::string>& content)
{
    const auto place = TRY(find_place(root, path));
    if (!place.directory.is_open()) return fail(ErrorKind::NotFound, cat("the directory of ", path, " has gone"));
    if (!content) return os::remove_file(place.directory.get(), place.name);
    return os::replace_file(place.directory.get(), place.name, *content, mode_of(path));
}

} // namespace coppice::node
