#pragma once

#include "byte_stream.h"

#include <algorithm>
#include <span>
#include <string_view>

namespace coppice::imports {

/// What a fuzzer made, as a stream. It borrows the bytes.
class MemoryStream final : public ByteStream {
public:
    explicit MemoryStream(std::string_view bytes) : bytes_{bytes} {}
    Result<std::size_t> read(std::span<char> out) override
    {
        const std::size_t got = std::min(out.size(), bytes_.size());
        std::copy_n(bytes_.data(), got, out.data());
        bytes_.remove_prefix(got);
        return got;
    }

private:
    std::string_view bytes_;
};

} // namespace coppice::imports
