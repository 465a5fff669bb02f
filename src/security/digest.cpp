#include "coppice/security/digest.h"

#include "coppice/base/text.h"

#include <sys/random.h>

namespace coppice::security {

std::string to_hex(std::string_view bytes)
{
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string hex(bytes.size() * 2, '\0');
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        hex[2 * i] = kDigits[byte >> 4];
        hex[2 * i + 1] = kDigits[byte & 15];
    }
    return hex;
}

namespace {

int value_of(char digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
    return -1;
}

} // namespace

Result<> from_hex(std::string_view hex, unsigned char* bytes, std::size_t size)
{
    bool good = hex.size() == size * 2;
    for (std::size_t i = 0; good && i < size; ++i) {
        const int high = value_of(hex[2 * i]);
        const int low = value_of(hex[2 * i + 1]);
        good = high >= 0 && low >= 0;
        if (good) bytes[i] = static_cast<unsigned char>(high << 4 | low);
    }
    if (!good)
        return fail(ErrorKind::Invalid, cat("'", hex.substr(0, 80), "' is not ", size * 2, " lower-case hex digits"));
    return {};
}

void fill_random(unsigned char* bytes, std::size_t size)
{
    COPPICE_CHECK(size <= 256); // below that getrandom(2) is never cut short
    COPPICE_CHECK(::getrandom(bytes, size, 0) == static_cast<ssize_t>(size));
}

} // namespace coppice::security
