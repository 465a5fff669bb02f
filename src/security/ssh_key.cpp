#include "coppice/security/ssh_key.h"

#include "coppice/base/text.h"
#include "coppice/security/base64.h"
#include "coppice/security/digest.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace coppice::security {

namespace {

using Kind = SshKeyForm::Kind;

struct FreeContext {
    void operator()(EVP_PKEY_CTX* context) const { EVP_PKEY_CTX_free(context); }
};
struct FreeNumber {
    void operator()(BIGNUM* number) const { BN_clear_free(number); }
};

EVP_PKEY* key_of(void* key) { return static_cast<EVP_PKEY*>(key); }

std::string curve_of(const SshKeyForm& form) { return cat("nistp", form.bits); }

std::string type_of(const SshKeyForm& form)
{
    switch (form.kind) {
    case Kind::Ed25519: return "ssh-ed25519";
    case Kind::Ecdsa: return "ecdsa-sha2-" + curve_of(form);
    case Kind::Rsa: return "ssh-rsa";
    }
    return {};
}

// --- the encoding of RFC 4251, section 5

std::string number(std::size_t value)
{
    std::string bytes(4, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<char>(value >> (8 * (3 - i)));
    return bytes;
}

std::string text(std::string_view bytes) { return cat(number(bytes.size()), bytes); }

/// A number that is not negative: its first bit is none.
std::string large_number(const EVP_PKEY* key, const char* parameter)
{
    BIGNUM* raw = nullptr;
    COPPICE_CHECK(EVP_PKEY_get_bn_param(key, parameter, &raw) == 1);
    const std::unique_ptr<BIGNUM, FreeNumber> value{raw};
    std::string bytes(static_cast<std::size_t>(BN_num_bytes(value.get())) + 1, '\0');
    BN_bn2bin(value.get(), reinterpret_cast<unsigned char*>(bytes.data()) + 1);
    if ((bytes[1] & 0x80) == 0) bytes.erase(0, 1);
    return text(bytes);
}

std::string octets(const EVP_PKEY* key, const char* parameter)
{
    std::array<unsigned char, 256> bytes{};
    std::size_t size = 0;
    COPPICE_CHECK(EVP_PKEY_get_octet_string_param(key, parameter, bytes.data(), bytes.size(), &size) == 1);
    std::string found{reinterpret_cast<const char*>(bytes.data()), size};
    OPENSSL_cleanse(bytes.data(), bytes.size());
    return found;
}

/// Takes a string off `rest`; empty when there is none.
std::string_view take_text(std::string_view& rest)
{
    if (rest.size() < 4) return {};
    std::size_t size = 0;
    for (std::size_t i = 0; i < 4; ++i)
        size = size << 8 | static_cast<unsigned char>(rest[i]);
    rest.remove_prefix(4);
    if (size > rest.size()) return {};
    const auto taken = rest.substr(0, size);
    rest.remove_prefix(size);
    return taken;
}

unsigned rsa_bits(std::string_view modulus)
{
    while (!modulus.empty() && modulus.front() == '\0')
        modulus.remove_prefix(1);
    return modulus.size() * 8 <= 2048 ? 2048 : modulus.size() * 8 <= 3072 ? 3072 : 4096;
}

std::string armoured(std::string_view bytes)
{
    constexpr std::size_t kColumns = 70;
    const std::string encoded = encode_base64(bytes);
    std::string lines = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
    for (std::size_t at = 0; at < encoded.size(); at += kColumns)
        lines += cat(std::string_view{encoded}.substr(at, kColumns), '\n');
    return lines + "-----END OPENSSH PRIVATE KEY-----\n";
}

int ask_on(EVP_PKEY_CTX* context)
{
    const auto& go_on = *static_cast<const std::function<bool()>*>(EVP_PKEY_CTX_get_app_data(context));
    return go_on() ? 1 : 0;
}

void* make_rsa(unsigned bits, std::function<bool()> go_on)
{
    const std::unique_ptr<EVP_PKEY_CTX, FreeContext> context{EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr)};
    COPPICE_CHECK(context && EVP_PKEY_keygen_init(context.get()) == 1);
    std::size_t size = bits;
    const std::array<OSSL_PARAM, 2> parameters{OSSL_PARAM_construct_size_t(OSSL_PKEY_PARAM_RSA_BITS, &size),
                                               OSSL_PARAM_construct_end()};
    COPPICE_CHECK(EVP_PKEY_CTX_set_params(context.get(), parameters.data()) == 1);
    EVP_PKEY_CTX_set_app_data(context.get(), &go_on);
    EVP_PKEY_CTX_set_cb(context.get(), ask_on);
    EVP_PKEY* key = nullptr;
    return EVP_PKEY_generate(context.get(), &key) == 1 ? key : nullptr;
}

} // namespace

std::optional<SshKeyForm> find_ssh_form(std::string_view public_text)
{
    const auto words = words_of(next_part(public_text, '\n'));
    if (words.size() < 2) return {};
    if (words[0] == "ssh-ed25519") return SshKeyForm{};
    for (const unsigned bits : {256U, 384U, 521U})
        if (const SshKeyForm form{.kind = Kind::Ecdsa, .bits = bits}; words[0] == type_of(form)) return form;
    const auto blob = decode_base64(words[1]);
    if (words[0] != "ssh-rsa" || !blob) return {};
    std::string_view rest = *blob;
    take_text(rest); // the type again
    take_text(rest); // the exponent
    return SshKeyForm{.kind = Kind::Rsa, .bits = rsa_bits(take_text(rest))};
}

void SshKey::Free::operator()(void* key) const { EVP_PKEY_free(key_of(key)); }

SshKey SshKey::make(const SshKeyForm& form)
{
    auto made = make(form, [] { return true; });
    COPPICE_CHECK(made.has_value());
    return *std::move(made);
}

std::optional<SshKey> SshKey::make(const SshKeyForm& form, const std::function<bool()>& go_on)
{
    void* key = nullptr;
    switch (form.kind) {
    case Kind::Ed25519: key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"); break;
    case Kind::Ecdsa: key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", cat("P-", form.bits).c_str()); break;
    case Kind::Rsa: key = make_rsa(form.bits, go_on); break;
    }
    if (key == nullptr && !go_on()) return {};
    COPPICE_CHECK(key != nullptr); // exhausted memory or a broken installation
    return SshKey{form, key};
}

std::string SshKey::public_fields() const
{
    const EVP_PKEY* const key = key_of(key_.get());
    switch (form_.kind) {
    case Kind::Ed25519: return text(octets(key, OSSL_PKEY_PARAM_PUB_KEY));
    case Kind::Ecdsa: return cat(text(curve_of(form_)), text(octets(key, OSSL_PKEY_PARAM_PUB_KEY)));
    case Kind::Rsa: return cat(large_number(key, OSSL_PKEY_PARAM_RSA_E), large_number(key, OSSL_PKEY_PARAM_RSA_N));
    }
    return {};
}

std::string SshKey::secret_fields() const
{
    const EVP_PKEY* const key = key_of(key_.get());
    switch (form_.kind) {
    case Kind::Ed25519:
        return cat(public_fields(),
                   text(cat(octets(key, OSSL_PKEY_PARAM_PRIV_KEY), octets(key, OSSL_PKEY_PARAM_PUB_KEY))));
    case Kind::Ecdsa: return cat(public_fields(), large_number(key, OSSL_PKEY_PARAM_PRIV_KEY));
    case Kind::Rsa: break;
    }
    std::string fields;
    for (const char* const parameter :
         {OSSL_PKEY_PARAM_RSA_N, OSSL_PKEY_PARAM_RSA_E, OSSL_PKEY_PARAM_RSA_D, OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
          OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2})
        fields += large_number(key, parameter);
    return fields;
}

std::string SshKey::public_text(std::string_view comment) const
{
    const std::string type = type_of(form_);
    return cat(type, ' ', encode_base64(cat(text(type), public_fields())), ' ', comment, '\n');
}

std::string SshKey::secret_text(std::string_view comment) const
{
    constexpr std::size_t kBlockBytes = 8; // of the cipher "none"
    const std::string type = type_of(form_);
    std::array<unsigned char, 4> random{};
    fill_random(random.data(), random.size());
    const std::string_view check{reinterpret_cast<const char*>(random.data()), random.size()};
    std::string secret = cat(check, check, text(type), secret_fields(), text(comment));
    for (char padding = 1; secret.size() % kBlockBytes != 0; ++padding)
        secret += padding;
    constexpr std::string_view kMagic{"openssh-key-v1\0", 15};
    return armoured(cat(kMagic, text("none"), text("none"), text(""), number(1), text(cat(text(type), public_fields())),
                        text(secret)));
}

} // namespace coppice::security
