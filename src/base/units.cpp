#include "coppice/base/units.h"

#include "coppice/base/text.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <utility>

namespace coppice {

namespace {

/// A decimal number without sign, exponent, inf or nan at the start of `text`; the rest of the text is left over.
Result<double> take_decimal(std::string_view& text)
{
    double value = 0;
    const auto* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value, std::chars_format::fixed);
    if (error != std::errc{} || text.front() < '0' || text.front() > '9')
        return fail(ErrorKind::Invalid, cat("'", text, "' is not a positive number"));
    text.remove_prefix(static_cast<std::size_t>(rest - text.data()));
    return value;
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

} // namespace

Result<std::uint64_t> parse_bytes(std::string_view text)
{
    const std::string whole{text};
    if (text.empty()) return fail(ErrorKind::Invalid, "an amount of bytes is empty");
    const double number = TRY(take_decimal(text));
    std::string unit;
    for (const char c : text)
        unit += lower(c);
    constexpr std::string_view kUnits = "bkmgt";
    std::size_t power = 0;
    if (!unit.empty()) {
        power = kUnits.find(unit.front());
        const std::string_view rest = std::string_view{unit}.substr(1);
        if (power == std::string_view::npos || !(rest.empty() || (power > 0 && (rest == "b" || rest == "ib"))))
            return fail(ErrorKind::Invalid, cat("'", whole, "' has an unknown unit; use b, k, m, g or t"));
    }
    const double bytes = std::floor(std::ldexp(number, static_cast<int>(power) * 10));
    if (!(bytes < 0x1p63)) return fail(ErrorKind::Invalid, cat("'", whole, "' is more than 2^63 bytes"));
    return static_cast<std::uint64_t>(bytes);
}

std::string format_bytes(std::uint64_t bytes)
{
    constexpr std::array<const char*, 7> kNames{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    auto value = static_cast<double>(bytes);
    while (value >= 1024 && unit + 1 < kNames.size()) {
        value /= 1024;
        ++unit;
    }
    std::array<char, 32> text{};
    const char* const form = value == std::floor(value) ? "%.0f %s" : "%.1f %s";
    std::snprintf(text.data(), text.size(), form, value, kNames[unit]);
    return text.data();
}

Result<std::uint64_t> parse_millicpus(std::string_view text)
{
    const std::string whole{text};
    if (text.empty()) return fail(ErrorKind::Invalid, "a number of CPUs is empty");
    const double number = TRY(take_decimal(text));
    const double milli = std::round(number * 1000);
    if (!text.empty() || milli < 1 || milli > 1e9)
        return fail(ErrorKind::Invalid, cat("'", whole, "' is not a number of CPUs such as 0.5 or 2"));
    return static_cast<std::uint64_t>(milli);
}

Result<std::int64_t> parse_duration_ms(std::string_view text)
{
    constexpr std::array<std::pair<std::string_view, double>, 6> kUnits{
        {{"ns", 1e-6}, {"us", 1e-3}, {"ms", 1}, {"s", 1e3}, {"m", 6e4}, {"h", 3.6e6}}};
    const std::string whole{text};
    if (text.empty()) return fail(ErrorKind::Invalid, "a time is empty");
    double milliseconds = 0;
    while (!text.empty()) {
        const double number = TRY(take_decimal(text));
        const auto name = text.substr(0, std::min(text.find_first_of("0123456789."), text.size()));
        const auto unit =
            std::find_if(kUnits.begin(), kUnits.end(), [name](const auto& one) { return one.first == name; });
        if (unit == kUnits.end())
            return fail(ErrorKind::Invalid, cat("'", whole, "' is not a time such as 500ms, 5s or 1m30s"));
        milliseconds += number * unit->second;
        text.remove_prefix(name.size());
    }
    if (!(milliseconds < 9.2e15)) return fail(ErrorKind::Invalid, cat("'", whole, "' is too long a time"));
    return static_cast<std::int64_t>(milliseconds);
}

Result<std::int64_t> parse_integer(std::string_view text, std::int64_t least, std::int64_t most)
{
    std::int64_t value = 0;
    const auto* const end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{} || rest != end || value < least || value > most)
        return fail(ErrorKind::Invalid, cat("'", text, "' is not a whole number from ", least, " to ", most));
    return value;
}

} // namespace coppice
