#include "coppice/security/signing.h"

#include "coppice/security/sha256.h"

#include <openssl/evp.h>

namespace coppice::security {

namespace {

struct FreeKey {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

const unsigned char* bytes_of(std::string_view data) { return reinterpret_cast<const unsigned char*>(data.data()); }

} // namespace

Result<PublicKey> PublicKey::parse(std::string_view hex)
{
    const auto key = TRY((Name<KeyKind, kBytes>::parse(hex)));
    return PublicKey{key};
}

KeyId PublicKey::id() const { return sha256<KeyId>(raw()); }

bool PublicKey::verify(std::string_view message, const Signature& signature) const
{
    const std::unique_ptr<EVP_PKEY, FreeKey> key{
        EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(raw()), kBytes)};
    const Context context{EVP_MD_CTX_new()};
    return key && context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
           EVP_DigestVerify(context.get(), signature.bytes.data(), signature.bytes.size(), bytes_of(message),
                            message.size()) == 1;
}

void SigningKey::Free::operator()(void* key) const { EVP_PKEY_free(static_cast<EVP_PKEY*>(key)); }

Result<SigningKey> SigningKey::from_key(std::unique_ptr<void, Free> key)
{
    std::array<char, PublicKey::kBytes> raw{};
    std::size_t size = raw.size();
    if (!key || EVP_PKEY_get_raw_public_key(static_cast<EVP_PKEY*>(key.get()),
                                            reinterpret_cast<unsigned char*>(raw.data()), &size) != 1)
        return fail(ErrorKind::Invalid, "not an Ed25519 key");
    return SigningKey{std::move(key), PublicKey::from_raw({raw.data(), size})};
}

SigningKey SigningKey::make()
{
    std::unique_ptr<void, Free> key{EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")};
    auto made = from_key(std::move(key));
    COPPICE_CHECK(made.has_value());
    return *std::move(made);
}

Result<SigningKey> SigningKey::from_seed(std::string_view seed)
{
    return from_key(std::unique_ptr<void, Free>{
        EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, bytes_of(seed), seed.size())});
}

Signature SigningKey::sign(std::string_view message) const
{
    Signature signature;
    std::size_t size = signature.bytes.size();
    const Context context{EVP_MD_CTX_new()};
    COPPICE_CHECK(context != nullptr);
    COPPICE_CHECK(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, static_cast<EVP_PKEY*>(key_.get())) ==
                  1);
    COPPICE_CHECK(EVP_DigestSign(context.get(), signature.bytes.data(), &size, bytes_of(message), message.size()) == 1);
    COPPICE_CHECK(size == signature.bytes.size());
    return signature;
}

} // namespace coppice::security
