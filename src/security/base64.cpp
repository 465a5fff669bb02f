#include "coppice/security/base64.h"

#include <openssl/evp.h>

#include <climits>

namespace coppice::security {

std::string encode_base64(std::string_view data)
{
    COPPICE_CHECK(data.size() < INT_MAX / 2);
    std::string text((data.size() + 2) / 3 * 4 + 1, '\0'); // the library ends it with a NUL
    const int size =
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                        reinterpret_cast<const unsigned char*>(data.data()), static_cast<int>(data.size()));
    text.resize(static_cast<std::size_t>(size));
    return text;
}

Result<std::string> decode_base64(std::string_view text)
{
    if (text.size() % 4 != 0 || text.size() > INT_MAX / 2) return fail(ErrorKind::Invalid, "not canonical base64");
    std::string data(text.size() / 4 * 3, '\0');
    const int size =
        EVP_DecodeBlock(reinterpret_cast<unsigned char*>(data.data()),
                        reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
    std::size_t padding = 0;
    while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=')
        ++padding;
    if (size >= 0) data.resize(data.size() - padding);
    // The library skips spaces and ignores stray bits; one content must have one text.
    if (size < 0 || encode_base64(data) != text) return fail(ErrorKind::Invalid, "not canonical base64");
    return data;
}

} // namespace coppice::security
