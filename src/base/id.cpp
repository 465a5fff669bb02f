#include "coppice/base/id.h"

#include "coppice/base/text.h"

#include <sys/random.h>

namespace coppice {

Result<> check_name(std::string_view name)
{
    if (name.empty()) return fail(ErrorKind::Invalid, "the name is empty");
    if (name.size() > kNameMaxBytes)
        return fail(ErrorKind::Invalid, cat("the name is longer than ", kNameMaxBytes, " bytes"));
    const auto is_word = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    for (std::size_t i = 0; i < name.size(); ++i) {
        const char c = name[i];
        if (is_word(c) || (i > 0 && (c == '-' || c == '.' || c == '+'))) continue;
        return fail(ErrorKind::Invalid,
                    "a name may hold only letters, digits and _ - . + and must begin with a letter, a digit or _");
    }
    return {};
}

std::string random_hex(std::size_t digits)
{
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string bytes(digits, '\0');
    COPPICE_CHECK(::getrandom(bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()));
    for (char& c : bytes)
        c = kDigits[static_cast<unsigned char>(c) % 16];
    return bytes;
}

} // namespace coppice
