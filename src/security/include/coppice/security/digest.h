#pragma once

#include "coppice/base/result.h"

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace coppice::security {

/// Lower-case hexadecimal form of `bytes`.
std::string to_hex(std::string_view bytes);
/// The other way: exactly `size` bytes in lower-case digits. Errors: Invalid
Result<> from_hex(std::string_view hex, unsigned char* bytes, std::size_t size);

/// `Size` bytes that name something. `Kind` is a tag only: names of different things are different types, so that one
/// cannot be passed for another. Trivially copyable, no padding.
template <typename Kind, std::size_t Size> struct Name {
    static constexpr std::size_t kBytes = Size;
    std::array<unsigned char, Size> bytes{};

    /// Errors: Invalid (not twice `Size` lower-case hexadecimal digits)
    static Result<Name> parse(std::string_view hex)
    {
        Name name;
        auto parsed = from_hex(hex, name.bytes.data(), Size);
        if (!parsed) return fail(std::move(parsed).error());
        return name;
    }
    /// @param raw exactly `Size` bytes
    static Name from_raw(std::string_view raw)
    {
        COPPICE_CHECK(raw.size() == Size);
        Name name;
        std::memcpy(name.bytes.data(), raw.data(), Size);
        return name;
    }
    [[nodiscard]] std::string_view raw() const { return {reinterpret_cast<const char*>(bytes.data()), Size}; }
    [[nodiscard]] std::string hex() const { return to_hex(raw()); }
    friend auto operator<=>(const Name&, const Name&) = default;
};

/// A SHA-256 of some kind of thing.
template <typename Kind> using Digest = Name<Kind, 32>;
/// 128 random bits.
template <typename Kind> using RandomId = Name<Kind, 16>;

/// A new id from the kernel's random source.
void fill_random(unsigned char* bytes, std::size_t size);
template <typename Id> Id make_random()
{
    Id id;
    fill_random(id.bytes.data(), id.bytes.size());
    return id;
}

/// Hash function for containers keyed by digests, which are evenly spread already. (Not for ids that a peer may
/// choose.)
struct HashOfName {
    template <typename Kind, std::size_t Size> std::size_t operator()(const Name<Kind, Size>& name) const
    {
        std::size_t hash = 0;
        std::memcpy(&hash, name.bytes.data(), sizeof hash);
        return hash;
    }
};

} // namespace coppice::security
