#pragma once

#include "coppice/store/ingest.h"
#include "coppice/vdisk/layer_writer.h"

namespace coppice::vdisk {

/// A layer's metadata on its way into the store.
class MetadataSink final : public ByteSink {
public:
    explicit MetadataSink(store::Ingest& ingest) : ingest_{&ingest} {}
    Result<> write(std::string_view bytes) override { return ingest_->put_metadata(bytes); }

private:
    store::Ingest* ingest_;
};

} // namespace coppice::vdisk
