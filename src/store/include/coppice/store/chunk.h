#pragma once

#include "coppice/store/ids.h"

#include <string>
#include <string_view>

namespace coppice::store {

inline constexpr std::size_t kBlockBytes = 4096;
inline constexpr std::size_t kChunkMaxBytes = 256U << 10;

enum class Codec : std::uint16_t { Raw = 0, Zstd = 1 };

/// All that is known of a chunk apart from where it lies.
struct Chunk {
    PlainDigest plain;
    StoredDigest stored;
    std::uint32_t plain_bytes = 0;  ///< a multiple of kBlockBytes, up to kChunkMaxBytes
    std::uint32_t stored_bytes = 0; ///< raw: as many; zstd: fewer
    Codec codec = Codec::Raw;
    friend bool operator==(const Chunk&, const Chunk&) = default;
};

/// Whether the members can belong together. Errors: Corrupt, naming the member
Result<> check_chunk(const Chunk& chunk);

/// Takes the plain chunks of one blob, in blob order. What writes layers gives them to it; store::Ingest is one.
class ChunkSink {
public:
    virtual ~ChunkSink() = default;
    /// @param plain the next chunk: a multiple of kBlockBytes, at least one, at most kChunkMaxBytes; copied
    /// May block until there is room. One thread at a time. After an error the sink takes nothing more.
    virtual Result<> put(std::string_view plain) = 0;
};

/// Compresses chunks, one after another; reuses its memory. One thread at a time.
class Compressor {
public:
    explicit Compressor(int zstd_level);
    Compressor(const Compressor&) = delete;
    Compressor& operator=(const Compressor&) = delete;
    ~Compressor();
    /// Fills `stored` (its members but `plain`) and returns the stored bytes: borrowed from `plain` (raw) or from this
    /// object until the next call.
    std::string_view store(std::string_view plain, Chunk& chunk);

private:
    void* context_;
    std::string buffer_;
    int level_;
};

/// The plain bytes of a chunk that comes from anywhere: checks the stored hash, decompresses into exactly
/// `plain_bytes`, checks the plain hash. @param plain gets the bytes; at least chunk.plain_bytes. Errors: Corrupt. Any
/// thread.
Result<> unpack_chunk(const Chunk& chunk, std::string_view stored, char* plain);

} // namespace coppice::store
