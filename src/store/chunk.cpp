#include "coppice/store/chunk.h"

#include "coppice/base/text.h"
#include "coppice/security/sha256.h"

#include <memory>
#include <zstd.h>

namespace coppice::store {

namespace {

struct FreeDecompressor {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

constexpr std::string_view kLayerTag{"coppice layer 1\0", 16};

} // namespace

LayerDigest layer_digest(const MetadataDigest& metadata, const security::MerkleRoot& root)
{
    return security::sha256<LayerDigest>(kLayerTag, metadata.raw(), root.raw());
}

Result<> check_chunk(const Chunk& chunk)
{
    const auto wrong = [&](const char* what) {
        return fail(ErrorKind::Corrupt, cat("chunk ", chunk.plain.hex(), ": impossible ", what));
    };
    if (chunk.plain_bytes == 0 || chunk.plain_bytes > kChunkMaxBytes || chunk.plain_bytes % kBlockBytes != 0)
        return wrong("plain length");
    switch (chunk.codec) {
    case Codec::Raw:
        if (chunk.stored_bytes != chunk.plain_bytes) return wrong("stored length");
        return chunk.stored.raw() == chunk.plain.raw() ? Result<>{} : wrong("stored hash");
    case Codec::Zstd:
        return chunk.stored_bytes > 0 && chunk.stored_bytes < chunk.plain_bytes ? Result<>{} : wrong("stored length");
    }
    return wrong("codec");
}

Compressor::Compressor(int zstd_level)
    : context_{ZSTD_createCCtx()}, buffer_(ZSTD_compressBound(kChunkMaxBytes), '\0'), level_{zstd_level}
{
    COPPICE_CHECK(context_ != nullptr);
}

Compressor::~Compressor() { ZSTD_freeCCtx(static_cast<ZSTD_CCtx*>(context_)); }

std::string_view Compressor::store(std::string_view plain, Chunk& chunk)
{
    COPPICE_CHECK(plain.size() <= kChunkMaxBytes);
    const std::size_t size = ZSTD_compressCCtx(static_cast<ZSTD_CCtx*>(context_), buffer_.data(), buffer_.size(),
                                               plain.data(), plain.size(), level_);
    chunk.plain_bytes = static_cast<std::uint32_t>(plain.size());
    // What shrinks by less than a sixteenth is not worth unpacking at each read.
    if (ZSTD_isError(size) != 0 || size > plain.size() - plain.size() / 16) {
        chunk.codec = Codec::Raw;
        chunk.stored_bytes = chunk.plain_bytes;
        chunk.stored = StoredDigest::from_raw(chunk.plain.raw());
        return plain;
    }
    const std::string_view stored{buffer_.data(), size};
    chunk.codec = Codec::Zstd;
    chunk.stored_bytes = static_cast<std::uint32_t>(size);
    chunk.stored = security::sha256<StoredDigest>(stored);
    return stored;
}

Result<> unpack_chunk(const Chunk& chunk, std::string_view stored, char* plain)
{
    TRY(check_chunk(chunk));
    const auto damaged = [&](const char* what) {
        return fail(
            Error{ErrorKind::Corrupt, cat("chunk ", chunk.plain.hex(), ": ", what)}.hint("run coppice system fsck"));
    };
    if (stored.size() != chunk.stored_bytes || security::sha256<StoredDigest>(stored) != chunk.stored)
        return damaged("its stored bytes are damaged");
    if (chunk.codec == Codec::Raw) { // plain and stored hash are one
        std::memcpy(plain, stored.data(), stored.size());
        return {};
    }
    thread_local const std::unique_ptr<ZSTD_DCtx, FreeDecompressor> context{ZSTD_createDCtx()};
    COPPICE_CHECK(context != nullptr);
    const std::size_t size = ZSTD_decompressDCtx(context.get(), plain, chunk.plain_bytes, stored.data(), stored.size());
    if (ZSTD_isError(size) != 0 || size != chunk.plain_bytes) return damaged("it does not unpack to its length");
    if (security::sha256<PlainDigest>(std::string_view{plain, size}) != chunk.plain)
        return damaged("its content is another one");
    return {};
}

} // namespace coppice::store
