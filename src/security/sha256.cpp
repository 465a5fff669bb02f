#include "coppice/security/sha256.h"

#include <openssl/evp.h>

namespace coppice::security {

namespace {

EVP_MD_CTX* context_of(void* context) { return static_cast<EVP_MD_CTX*>(context); }

/// Fetched once: EVP_sha256() would be looked up again at every start of a message.
const EVP_MD* algorithm()
{
    static const EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA2-256", nullptr);
    COPPICE_CHECK(fetched != nullptr);
    return fetched;
}

} // namespace

void Sha256::Free::operator()(void* context) const { EVP_MD_CTX_free(context_of(context)); }

Sha256::Sha256() : context_{EVP_MD_CTX_new()}
{
    COPPICE_CHECK(context_ != nullptr);
    COPPICE_CHECK(EVP_DigestInit_ex2(context_of(context_.get()), algorithm(), nullptr) == 1);
}

void Sha256::update(std::string_view data)
{
    COPPICE_CHECK(EVP_DigestUpdate(context_of(context_.get()), data.data(), data.size()) == 1);
}

void Sha256::finish(unsigned char* digest)
{
    COPPICE_CHECK(EVP_DigestFinal_ex(context_of(context_.get()), digest, nullptr) == 1);
    COPPICE_CHECK(EVP_DigestInit_ex2(context_of(context_.get()), nullptr, nullptr) == 1);
}

} // namespace coppice::security
