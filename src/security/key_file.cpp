#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/security/signing.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <unistd.h>

namespace coppice::security {

namespace {

// The file: the seed in hex and a newline. Nothing to parse, nothing that needs a library to read.
constexpr std::size_t kSeedBytes = 32;
constexpr std::size_t kFileBytes = 2 * kSeedBytes + 1;

struct Wiped {
    std::string text;
    ~Wiped() { OPENSSL_cleanse(text.data(), text.size()); }
};

Result<std::string_view> check_form(std::string_view text, const std::string& path)
{
    if (text.size() != kFileBytes || text.back() != '\n')
        return fail(ErrorKind::Corrupt, cat(path, " is not a key of ours: it must be one line of 64 hex digits"));
    return text.substr(0, kFileBytes - 1);
}

} // namespace

Result<> SigningKey::save(int directory, const std::string& name) const
{
    const std::string path = name + ".key";
    if (os::exists(directory, path))
        return fail(
            Error{ErrorKind::Conflict, cat(path, " exists already")}.hint("a key is never replaced: move it away"));
    Wiped seed{std::string(kSeedBytes, '\0')};
    std::size_t size = kSeedBytes;
    COPPICE_CHECK(EVP_PKEY_get_raw_private_key(static_cast<EVP_PKEY*>(key_.get()),
                                               reinterpret_cast<unsigned char*>(seed.text.data()), &size) == 1);
    const Wiped text{to_hex(seed.text) + "\n"};
    TRY(os::replace_file(directory, name + ".pub", public_.hex() + "\n", 0644, true));
    TRY(os::replace_file(directory, path, text.text, 0600, true));
    return os::sync_directory(directory, "the directory of keys");
}

Result<SigningKey> SigningKey::load(int directory, const std::string& name)
{
    const std::string path = name + ".key";
    const auto file = TRY(os::open_at(directory, path, O_RDONLY | O_NOFOLLOW));
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, cat("stat ", path));
    if ((status.st_mode & 077) != 0)
        return fail(Error{ErrorKind::Denied, cat(path, ": others than its owner may use this key")}.hint(
            cat("whoever had access may know it; if not: chmod 600 ", path)));
    if (status.st_uid != ::geteuid())
        return fail(Error{ErrorKind::Denied, cat(path, " belongs to user ", status.st_uid)}.hint("chown it"));
    const Wiped text{TRY(os::read_all(file, 4096, path))};
    const auto hex = TRY(check_form(text.text, path));
    Wiped seed{std::string(kSeedBytes, '\0')};
    if (!from_hex(hex, reinterpret_cast<unsigned char*>(seed.text.data()), kSeedBytes))
        return fail(ErrorKind::Corrupt, cat(path, " is not a key of ours: it must be one line of 64 hex digits"));
    auto key = TRY_DOING(path, from_seed(seed.text));
    const auto beside = TRY(os::read_file(directory, name + ".pub", 4096));
    if (beside != key.public_key().hex() + "\n")
        return fail(Error{ErrorKind::Corrupt, cat(name, ".pub is not the public key of ", path)}.hint(
            "restore both from a backup"));
    return key;
}

} // namespace coppice::security
