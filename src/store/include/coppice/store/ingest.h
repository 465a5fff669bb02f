#pragma once

#include "coppice/store/chunk.h"
#include "coppice/store/layer.h"

#include <memory>
#include <string>

namespace coppice::store {

class Store;

struct IngestOptions {
    /// Names the work, so that it can be resumed: chunks that an earlier try of the same key had committed are still
    /// pinned for it and are found again. 1 to 128 bytes. Two at once with one key: Conflict.
    std::string key;
    unsigned threads = 0; ///< that compress; 0: one per processor
    int zstd_level = 3;
    bool write_blob = true; ///< the plain blob, too, for mounting
};

/// Puts the blob of one layer into the store: plain chunks in, a layer that is on disk out.
///
/// Chunks are hashed, looked up, compressed and appended to packs by other threads while the caller goes on; put()
/// waits when they are behind. Memory: at most about 150 MiB, the database's cache included, and
/// 250 bytes per chunk. What has been committed survives
/// a kill.
class Ingest final : public ChunkSink {
public:
    /// Errors: Conflict (the key is in use), Invalid (its form)
    static Result<std::unique_ptr<Ingest>> begin(Store& store, const IngestOptions& options);
    /// Without finish(): stops. What was committed stays pinned for a later try with the same key, for a while.
    ~Ingest() override;

    /// Errors: Invalid (size); any error that a worker met since: disk full, I/O
    Result<> put(std::string_view plain) override;

    /// The next part, of any length, of the layer's metadata: the EROFS image without file data. It goes to a file; no
    /// more than the part is in memory. The caller's thread, as put().
    Result<> put_metadata(std::string_view part);

    /// Waits for the chunks, writes the chunk table, syncs it and the metadata. The layer becomes part of the store
    /// when it is given to add_layer in a transaction; until then the session's pins hold its chunks.
    Result<StagedLayer> finish();

    /// Of what was put so far. Any thread.
    struct Progress {
        std::uint64_t chunks = 0, plain_bytes = 0;
        std::uint64_t new_chunks = 0, new_stored_bytes = 0; ///< not in the store before
    };
    [[nodiscard]] Progress progress() const;

private:
    struct Parts;
    explicit Ingest(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

/// Drops a session that will not be resumed, with its pins. Errors: Conflict (it is running); absence is fine.
Result<> abandon_ingest(Store& store, const std::string& key);

} // namespace coppice::store
