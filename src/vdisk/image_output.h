#pragma once

#include "coppice/vdisk/layer_writer.h"
#include "erofs_format.h"

#include <algorithm>

namespace coppice::vdisk {

/// Collects an image's bytes into larger writes, and puts the checksum into the first block on its way out.
class ImageOutput {
public:
    ImageOutput(ByteSink& sink, bool with_checksum) : sink_{sink}, with_checksum_{with_checksum}
    {
        buffer_.reserve(kFlushBytes + kBlockBytes);
    }

    [[nodiscard]] std::uint64_t position() const { return written_ + buffer_.size(); }
    /// Where the next bytes are appended. Call `flush_some` from time to time.
    std::string& buffer() { return buffer_; }
    Result<> append(std::string_view bytes)
    {
        buffer_ += bytes;
        return flush_some();
    }
    Result<> pad_to(std::uint64_t position)
    {
        COPPICE_CHECK(position >= this->position());
        for (; this->position() < position; TRY(flush_some()))
            buffer_.resize(buffer_.size() + std::min<std::uint64_t>(position - this->position(), kBlockBytes));
        return {};
    }
    Result<> flush_some() { return buffer_.size() < kFlushBytes ? Result<>{} : flush(); }
    Result<> flush()
    {
        if (written_ == 0 && with_checksum_) set_checksum(buffer_);
        TRY(sink_.write(buffer_));
        written_ += buffer_.size();
        buffer_.clear();
        return {};
    }

private:
    static constexpr std::size_t kFlushBytes = 256U << 10; // so the first write has the whole first block
    ByteSink& sink_;
    bool with_checksum_;
    std::string buffer_;
    std::uint64_t written_ = 0;
};

} // namespace coppice::vdisk
