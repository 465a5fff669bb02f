#pragma once

#include "coppice/security/digest.h"

#include <memory>
#include <string>
#include <string_view>

namespace coppice::security {

struct KeyKind {};
using KeyId = Digest<KeyKind>; ///< SHA-256 of the public key's 32 bytes

struct SignatureKind {};
using Signature = Name<SignatureKind, 64>;

/// Ed25519 public key (RFC 8032).
class PublicKey {
public:
    static constexpr std::size_t kBytes = 32;
    static PublicKey from_raw(std::string_view raw) { return PublicKey{Name<KeyKind, kBytes>::from_raw(raw)}; }
    /// @param hex 64 lower-case digits. Errors: Invalid
    static Result<PublicKey> parse(std::string_view hex);

    [[nodiscard]] std::string_view raw() const { return key_.raw(); }
    [[nodiscard]] std::string hex() const { return key_.hex(); }
    [[nodiscard]] KeyId id() const;
    /// Whether `signature` is this key's over exactly `message`. Any thread.
    [[nodiscard]] bool verify(std::string_view message, const Signature& signature) const;
    friend bool operator==(const PublicKey&, const PublicKey&) = default;

private:
    explicit PublicKey(Name<KeyKind, kBytes> key) : key_{key} {}
    Name<KeyKind, kBytes> key_;
};

/// Ed25519 secret key. Its bytes are wiped when the object goes.
class SigningKey {
public:
    static SigningKey make();
    /// @param seed the 32 bytes of RFC 8032. Errors: Invalid
    static Result<SigningKey> from_seed(std::string_view seed);

    SigningKey(SigningKey&&) noexcept = default;
    SigningKey& operator=(SigningKey&&) noexcept = default;

    [[nodiscard]] const PublicKey& public_key() const { return public_; }
    /// Any thread.
    [[nodiscard]] Signature sign(std::string_view message) const;

    /// Writes `NAME.key` (0600) and `NAME.pub` (0644), each synced and renamed into place, and syncs the directory.
    /// Errors: Conflict (there is one already: a key is never replaced), Unavailable (disk full), Os
    [[nodiscard]] Result<> save(int directory, const std::string& name) const;
    /// Errors: NotFound, Denied (others than the owner may read it, or another user owns it), Corrupt (not a key, or
    /// the public key beside it is another one's)
    static Result<SigningKey> load(int directory, const std::string& name);

private:
    struct Free {
        void operator()(void* key) const;
    };
    SigningKey(std::unique_ptr<void, Free> key, PublicKey public_key) : key_{std::move(key)}, public_{public_key} {}
    static Result<SigningKey> from_key(std::unique_ptr<void, Free> key);
    std::unique_ptr<void, Free> key_;
    PublicKey public_;
};

} // namespace coppice::security
