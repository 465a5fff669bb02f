#pragma once

#include "coppice/store/ingest.h"
#include "coppice/vdisk/layer_writer.h"

#include <cstdint>
#include <functional>

namespace coppice::vdisk {

/// What the layer writer gives, chunks and metadata, on its way into the store.
class IngestSink final : public store::ChunkSink, public ByteSink {
public:
    /// Asked before each part; its error ends the writing. @param bytes of chunks so far
    using Watch = std::function<Result<>(std::uint64_t bytes)>;
    explicit IngestSink(store::Ingest& ingest, Watch watch = {}) : ingest_{&ingest}, watch_{std::move(watch)} {}

    Result<> put(std::string_view chunk) override
    {
        if (watch_) TRY(watch_(bytes_));
        bytes_ += chunk.size();
        return ingest_->put(chunk);
    }
    Result<> write(std::string_view part) override
    {
        if (watch_) TRY(watch_(bytes_));
        return ingest_->put_metadata(part);
    }

private:
    store::Ingest* ingest_;
    Watch watch_;
    std::uint64_t bytes_ = 0;
};

} // namespace coppice::vdisk
