#pragma once

#include "coppice/store/ingest.h"
#include "coppice/store/watch.h"
#include "coppice/vdisk/layer_writer.h"

#include <cstdint>

namespace coppice::vdisk {

/// What the layer writer gives, chunks and metadata, on its way into the store.
class IngestSink final : public store::ChunkSink, public ByteSink {
public:
    /// @param watch asked before each part, with the bytes of chunks so far
    explicit IngestSink(store::Ingest& ingest, store::Watch watch = store::unwatched)
        : ingest_{&ingest}, watch_{std::move(watch)}
    {
    }

    Result<> put(std::string_view chunk) override
    {
        TRY(watch_(bytes_));
        bytes_ += chunk.size();
        return ingest_->put(chunk);
    }
    Result<> write(std::string_view part) override
    {
        TRY(watch_(bytes_));
        return ingest_->put_metadata(part);
    }

private:
    store::Ingest* ingest_;
    store::Watch watch_;
    std::uint64_t bytes_ = 0;
};

} // namespace coppice::vdisk
