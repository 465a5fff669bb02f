#include "decompress.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"

#include <algorithm>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

namespace coppice::imports {

namespace {

constexpr std::size_t kInputBytes = 128U << 10;
constexpr int kWindowLogMax = 27; // zstd: 128 MiB, what `zstd -d` takes without being asked
constexpr std::uint64_t kXzMemoryBytes = 128U << 20;
constexpr int kGzipOnly = 16 + MAX_WBITS; // zlib.h, inflateInit2

/// One decompression library: takes a part of `in`, gives a part of `out`.
class Codec {
public:
    Codec() = default;
    Codec(const Codec&) = delete;
    Codec& operator=(const Codec&) = delete;
    virtual ~Codec() = default;
    struct Step {
        std::size_t taken, given;
    };
    /// @param last nothing comes behind `in`. Errors: without the name
    virtual Result<Step> step(std::string_view in, std::span<char> out, bool last) = 0;
    /// Whether the input may end here.
    [[nodiscard]] virtual bool complete() const = 0;
};

std::unexpected<Error> damaged(std::string_view what)
{
    return fail(ErrorKind::Corrupt, cat("damaged ", what, " data"));
}

class Gzip final : public Codec {
public:
    Gzip() { COPPICE_CHECK(::inflateInit2(&z_, kGzipOnly) == Z_OK); }
    ~Gzip() override { ::inflateEnd(&z_); }
    Result<Step> step(std::string_view in, std::span<char> out, bool) override
    {
        if (complete_ && !in.empty()) {                                                          // a further member
            if (in.find_first_not_of('\0') == std::string_view::npos) return Step{in.size(), 0}; // padding, as of tapes
            ::inflateReset(&z_);
            complete_ = false;
        }
        z_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
        z_.avail_in = static_cast<unsigned>(in.size());
        z_.next_out = reinterpret_cast<Bytef*>(out.data());
        z_.avail_out = static_cast<unsigned>(std::min<std::size_t>(out.size(), 1U << 30));
        const auto room = z_.avail_out;
        const int result = ::inflate(&z_, Z_NO_FLUSH);
        if (result == Z_STREAM_END)
            complete_ = true;
        else if (result != Z_OK && result != Z_BUF_ERROR)
            return damaged("gzip");
        return Step{in.size() - z_.avail_in, room - z_.avail_out};
    }
    [[nodiscard]] bool complete() const override { return complete_; }

private:
    z_stream z_{};
    bool complete_ = false;
};

class Zstd final : public Codec {
public:
    Zstd() : context_{::ZSTD_createDCtx()}
    {
        COPPICE_CHECK(context_ != nullptr);
        ::ZSTD_DCtx_setParameter(context_, ZSTD_d_windowLogMax, kWindowLogMax);
    }
    ~Zstd() override { ::ZSTD_freeDCtx(context_); }
    Result<Step> step(std::string_view in, std::span<char> out, bool) override
    {
        ZSTD_inBuffer input{in.data(), in.size(), 0};
        ZSTD_outBuffer output{out.data(), out.size(), 0};
        const std::size_t result = ::ZSTD_decompressStream(context_, &output, &input);
        if (::ZSTD_isError(result) != 0) {
            if (::ZSTD_getErrorCode(result) == ZSTD_error_frameParameter_windowTooLarge)
                return fail(ErrorKind::Unavailable, "zstd data that needs more than 128 MiB of memory");
            return damaged("zstd");
        }
        complete_ = result == 0;
        return Step{input.pos, output.pos};
    }
    [[nodiscard]] bool complete() const override { return complete_; }

private:
    ZSTD_DCtx* context_;
    bool complete_ = false;
};

class Xz final : public Codec {
public:
    Xz() { COPPICE_CHECK(::lzma_stream_decoder(&lzma_, kXzMemoryBytes, LZMA_CONCATENATED) == LZMA_OK); }
    ~Xz() override { ::lzma_end(&lzma_); }
    Result<Step> step(std::string_view in, std::span<char> out, bool last) override
    {
        lzma_.next_in = reinterpret_cast<const std::uint8_t*>(in.data());
        lzma_.avail_in = in.size();
        lzma_.next_out = reinterpret_cast<std::uint8_t*>(out.data());
        lzma_.avail_out = out.size();
        const auto result = ::lzma_code(&lzma_, last ? LZMA_FINISH : LZMA_RUN);
        if (result == LZMA_STREAM_END)
            complete_ = true;
        else if (result == LZMA_MEMLIMIT_ERROR)
            return fail(ErrorKind::Unavailable, "xz data that needs more than 128 MiB of memory");
        else if (result != LZMA_OK && result != LZMA_BUF_ERROR)
            return damaged("xz");
        return Step{in.size() - lzma_.avail_in, out.size() - lzma_.avail_out};
    }
    [[nodiscard]] bool complete() const override { return complete_; }

private:
    lzma_stream lzma_ = LZMA_STREAM_INIT;
    bool complete_ = false;
};

std::unique_ptr<Codec> make_codec(Compression compression)
{
    if (compression == Compression::Gzip) return std::make_unique<Gzip>();
    if (compression == Compression::Zstd) return std::make_unique<Zstd>();
    if (compression == Compression::Xz) return std::make_unique<Xz>();
    return nullptr;
}

/// Begins with bytes that were read ahead to see what they are.
class Unpacked final : public ByteStream {
public:
    Unpacked(ByteStream& input, std::string first, std::unique_ptr<Codec> codec, UnpackBudget& budget, bool pays,
             std::string name)
        : input_{&input}, buffer_{std::move(first)}, filled_{buffer_.size()}, codec_{std::move(codec)},
          budget_{&budget}, pays_{pays}, name_{std::move(name)}
    {
        pay(buffer_);
    }
    Result<std::size_t> read(std::span<char> out) override
    {
        if (!codec_) return read_as_it_is(out);
        for (;;) {
            TRY(refill());
            if (filled_ == at_ && ended_ && codec_->complete()) return 0;
            const auto step = TRY_DOING(name_, codec_->step({buffer_.data() + at_, filled_ - at_}, out, ended_));
            at_ += step.taken;
            TRY(budget_->take(step.given, name_));
            if (step.given > 0) return step.given;
            if (step.taken == 0 && ended_ && !codec_->complete())
                return fail(ErrorKind::Corrupt, cat(name_, " is cut short"));
        }
    }
    Result<> skip(std::uint64_t bytes) override
    {
        if (codec_) return ByteStream::skip(bytes);
        const std::uint64_t here = std::min<std::uint64_t>(bytes, filled_ - at_);
        at_ += here;
        return input_->skip(bytes - here);
    }

private:
    Result<std::size_t> read_as_it_is(std::span<char> out)
    {
        if (at_ == filled_) {
            const std::size_t got = TRY(input_->read(out));
            if (!pay({out.data(), got})) return got;
            TRY(budget_->take(got, name_));
            return got;
        }
        const std::size_t bytes = std::min(out.size(), filled_ - at_);
        std::copy_n(buffer_.data() + at_, bytes, out.data());
        at_ += bytes;
        return bytes;
    }
    /// False: there is nothing but zeros.
    bool pay(std::string_view bytes)
    {
        if (bytes.find_first_not_of('\0') == std::string_view::npos) return false;
        if (pays_) budget_->pay(bytes.size());
        return true;
    }
    Result<> refill()
    {
        if (at_ < filled_ || ended_) return {};
        buffer_.resize(kInputBytes);
        at_ = 0;
        filled_ = TRY(input_->read(buffer_));
        pay(std::string_view{buffer_}.substr(0, filled_));
        ended_ = filled_ == 0;
        return {};
    }

    ByteStream* input_;
    std::string buffer_;
    std::size_t at_ = 0, filled_;
    bool ended_ = false;
    std::unique_ptr<Codec> codec_; ///< null: not packed
    UnpackBudget* budget_;
    bool pays_;
    std::string name_;
};

} // namespace

Compression detect_compression(std::string_view first)
{
    using namespace std::string_view_literals;
    if (first.starts_with("\x1f\x8b"sv)) return Compression::Gzip;
    if (first.starts_with("\x28\xb5\x2f\xfd"sv)) return Compression::Zstd;
    if (first.starts_with("\xfd\x37zXZ\0"sv)) return Compression::Xz;
    return Compression::None;
}

Result<> UnpackBudget::take(std::uint64_t bytes, std::string_view name)
{
    given_ += bytes;
    if (given_ <= free_ || (given_ - free_) / ratio_ <= paid_) return {};
    return fail(Error{ErrorKind::Unavailable, cat("with ", name, " there are more than ", format_bytes(given_),
                                                  " unpacked from ", format_bytes(paid_))}
                    .hint("this looks like a decompression bomb; unpack it yourself if you trust it"));
}

Result<std::unique_ptr<ByteStream>> decompress(ByteStream& input, UnpackBudget& budget, bool pays, std::string name)
{
    std::string first(kMagicBytes, '\0');
    first.resize(TRY(read_full(input, first)));
    auto codec = make_codec(detect_compression(first));
    return std::make_unique<Unpacked>(input, std::move(first), std::move(codec), budget, pays, std::move(name));
}

} // namespace coppice::imports
