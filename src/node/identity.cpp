#include "identity.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/instance/store.h"
#include "coppice/os/file.h"
#include "coppice/os/file_system_user.h"
#include "coppice/security/digest.h"
#include "personal_files.h"

#include <map>
#include <nlohmann/json.hpp>
#include <optional>

namespace coppice::node {

namespace {

constexpr std::size_t kMaxBytes = 1U << 20;

struct Identity {
    std::map<std::string, std::string> files; ///< what they are to hold; kHostNameFile is not among them
    std::vector<std::string> changed;         ///< paths in the order of the changes
};

// --- as it is kept

std::string to_text(const Identity& identity)
{
    const nlohmann::ordered_json document{{"files", identity.files}, {"personalised", identity.changed}};
    return document.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<Identity> parse_identity(std::string_view text)
{
    const auto document = TRY(parse_json(text));
    const JsonNode node{document};
    Identity identity;
    TRY(node.each_member("files", [&](const std::string& path, const JsonNode& content) -> Result<> {
        identity.files[path] = TRY(content.text());
        return {};
    }));
    identity.changed = TRY(node.texts_or_none("personalised"));
    return identity;
}

Result<Identity> load(const os::Fd& directory)
{
    const auto text = os::read_file(directory.get(), instance::kIdentity, kMaxBytes);
    if (!text && text.error().kind() == ErrorKind::NotFound) return Identity{};
    if (!text) return fail(text.error());
    if (text->empty()) return Identity{}; // a power cut soon after one that is not lasting was made
    auto identity = parse_identity(*text);
    if (identity) return identity;
    return fail(Error{ErrorKind::Corrupt, cat(instance::kIdentity, ": ", identity.error().message())}.hint(
        "remove it, and the instance gets a new identity"));
}

// --- what is in it

/// Version and variant of a random UUID. Source: machine-id(5)
std::string new_machine_id()
{
    struct MachineIdKind {};
    auto id = security::make_random<security::RandomId<MachineIdKind>>();
    id.bytes[6] = static_cast<unsigned char>((id.bytes[6] & 0x0F) | 0x40);
    id.bytes[8] = static_cast<unsigned char>((id.bytes[8] & 0x3F) | 0x80);
    return id.hex() + "\n";
}

void add_machine_ids(Identity& identity, const std::vector<std::string>& paths)
{
    std::string id;
    for (const auto& [path, content] : identity.files)
        if (path.ends_with("/machine-id")) id = content;
    for (const std::string& path : paths) {
        if (id.empty()) id = new_machine_id();
        identity.files[path] = id;
        identity.changed.push_back(path);
    }
}

void add_host_key(Identity& identity, const HostKey& found, const std::string& host_name, SshKeys& keys)
{
    const std::string beside = found.path + ".pub";
    if (!identity.files.contains(found.path)) {
        const auto key = keys.take(found.form);
        const std::string comment = cat("root@", printable(host_name));
        identity.files[found.path] = key.secret_text(comment);
        identity.files[beside] = key.public_text(comment);
    }
    if (found.has_public) identity.changed.push_back(beside);
    identity.changed.push_back(found.path);
}

/// Makes what this root needs and the identity does not have yet.
void complete(Identity& identity, const PersonalFiles& found, const std::string& host_name, SshKeys& keys)
{
    identity.changed = found.passing;
    if (found.host_name) identity.changed.emplace_back(kHostNameFile);
    for (const HostKey& key : found.host_keys)
        add_host_key(identity, key, host_name, keys);
    add_machine_ids(identity, found.machine_ids); // last: see has_it
}

/// Empty: the file is to go.
std::optional<std::string> content_of(const Identity& identity, const std::string& path, const std::string& host_name)
{
    if (path == kHostNameFile) return host_name + "\n";
    const auto file = identity.files.find(path);
    return file == identity.files.end() ? std::nullopt : std::optional{file->second};
}

/// The last change is the mark of them all: it is not there before the others are, and goes when the root is rolled
/// back. What the instance makes of the other files is its own business.
Result<bool> has_it(const os::Fd& root, const Identity& identity, const std::string& host_name)
{
    if (identity.changed.empty()) return false;
    const std::string& mark = identity.changed.back();
    const auto wanted = content_of(identity, mark, host_name);
    return wanted && TRY(read_personal_file(root, mark, wanted->size())) == wanted;
}

/// The daemon is root of the host, who is nobody in a root with mapped ids and can create nothing there (EOVERFLOW).
/// Taking on the instance's root for the file system alone, in this thread alone, costs two system calls; a child in
/// the instance's user namespace would be a fork of a process with threads.
Result<> change(const os::Fd& root, const Identity& identity, const IdentityWanted& wanted)
{
    const auto user = TRY(os::FileSystemUser::become(wanted.root_id, wanted.root_id));
    for (const std::string& path : identity.changed)
        TRY_DOING(path, change_personal_file(root, path, content_of(identity, path, wanted.host_name)));
    return {};
}

} // namespace

Result<> give_identity(const os::Fd& root, const os::Fd& directory, const IdentityWanted& wanted, SshKeys& keys)
{
    auto identity = TRY(load(directory));
    if (TRY(has_it(root, identity, wanted.host_name))) return {};
    const auto before = to_text(identity);
    complete(identity, TRY(find_personal_files(root)), wanted.host_name, keys);
    if (identity.changed.empty()) return {};
    // Kept first: what is in the root must not be lost, or a root that is undone would get another one.
    if (const auto text = to_text(identity); text != before)
        TRY(os::replace_file(directory.get(), instance::kIdentity, text, 0600, wanted.lasting));
    return change(root, identity, wanted);
}

Result<std::vector<std::string>> personalised_files(const os::Fd& directory) { return TRY(load(directory)).changed; }

} // namespace coppice::node
