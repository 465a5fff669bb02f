#pragma once

#include "coppice/base/result.h"

#include <compare>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace coppice::security {

/// What an OpenSSH key is made by, and how large it is.
struct SshKeyForm {
    enum class Kind : unsigned char { Ed25519, Ecdsa, Rsa };
    Kind kind = Kind::Ed25519;
    unsigned bits = 256; ///< ECDSA: 256, 384 or 521; RSA: 2048, 3072 or 4096
    friend auto operator<=>(const SshKeyForm&, const SshKeyForm&) = default;
};

/// The form that a public key file is of, which may come from anywhere. An RSA key of another size counts as the next
/// larger one of those above, or the largest. Empty: it is none of these.
std::optional<SshKeyForm> find_ssh_form(std::string_view public_text);

/// A key pair for OpenSSH. Its bytes are wiped when the object goes.
class SshKey {
public:
    /// RSA takes up to seconds. Any thread.
    static SshKey make(const SshKeyForm& form);
    /// @param go_on asked every few milliseconds; empty result: it said no
    static std::optional<SshKey> make(const SshKeyForm& form, const std::function<bool()>& go_on);

    /// The public key file: one line. @param comment on one line
    [[nodiscard]] std::string public_text(std::string_view comment) const;
    /// The secret key file, not encrypted. Source: PROTOCOL.key of OpenSSH
    [[nodiscard]] std::string secret_text(std::string_view comment) const;

private:
    struct Free {
        void operator()(void* key) const;
    };
    SshKey(const SshKeyForm& form, void* key) : form_{form}, key_{key} {}
    [[nodiscard]] std::string public_fields() const;
    [[nodiscard]] std::string secret_fields() const;
    SshKeyForm form_;
    std::unique_ptr<void, Free> key_;
};

} // namespace coppice::security
