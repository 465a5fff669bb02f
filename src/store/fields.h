#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string_view>

/// Little-endian numbers in on-disk formats.
namespace coppice::store {

template <std::unsigned_integral T> void put_number(char* at, T value)
{
    for (std::size_t i = 0; i < sizeof value; ++i)
        at[i] = static_cast<char>(static_cast<std::uint64_t>(value) >> (8 * i));
}
template <std::unsigned_integral T> T get_number(const char* at)
{
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i)
        value |= std::uint64_t{static_cast<unsigned char>(at[i])} << (8 * i);
    return static_cast<T>(value);
}
inline void put_bytes(char* at, std::string_view bytes) { std::memcpy(at, bytes.data(), bytes.size()); }

} // namespace coppice::store
