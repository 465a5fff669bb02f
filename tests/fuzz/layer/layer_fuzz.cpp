#include "coppice/vdisk/layer_reader.h"

#include "coppice/base/error.h"
#include "erofs_format.h"
#include "uuid_hash.h"

#include <algorithm>
#include <cstring>

// A layer's metadata, as it is and with its sums made right: then the structure alone must tell. What is accepted must
// be what the writer gives for the tree that was read.

namespace {

using namespace coppice;
using namespace coppice::vdisk;

class Memory final : public OpenContent {
public:
    explicit Memory(std::string bytes) : bytes_{std::move(bytes)} {}
    Result<> read(std::uint64_t offset, std::span<char> out) const override
    {
        COPPICE_CHECK(offset <= bytes_.size() && out.size() <= bytes_.size() - offset);
        std::copy_n(bytes_.data() + offset, out.size(), out.data());
        return {};
    }

private:
    std::string bytes_;
};

/// Any blob: zeros.
class Zeros final : public OpenContent {
    Result<> read(std::uint64_t, std::span<char> out) const override
    {
        std::fill(out.begin(), out.end(), '\0');
        return {};
    }
};

struct Sink final : store::ChunkSink, ByteSink {
    std::string metadata;
    Result<> put(std::string_view) override { return {}; }
    Result<> write(std::string_view bytes) override
    {
        metadata += bytes;
        return {};
    }
};

void seal(std::string& metadata)
{
    char* const super = metadata.data() + kSuperblockOffset;
    std::memset(super + superblock::kUuid, 0, kUuidBytes);
    std::memset(super + superblock::kChecksum, 0, 4);
    UuidHash hash;
    hash.add(metadata);
    std::ranges::copy(hash.uuid(), super + superblock::kUuid);
    std::string first = metadata.substr(0, kBlockBytes);
    set_checksum(first);
    metadata.replace(0, kBlockBytes, first);
}

void try_reader(const std::string& metadata)
{
    const auto content = std::make_shared<Memory>(metadata);
    auto reader = LayerReader::open(content, metadata.size());
    if (!reader) return;
    Sink flat;
    const auto made_flat = reader->write_flat(flat);
    (void)reader->find("dir/name").has_value();
    auto tree = read_layer(content, metadata.size(), std::make_shared<Zeros>());
    if (!tree) {
        COPPICE_CHECK(tree.error().kind() == ErrorKind::Corrupt);
        return;
    }
    COPPICE_CHECK(made_flat && flat.metadata.size() == metadata.size());
    if (reader->blob_bytes() > 0) return; // zeros are holes, so another tree
    Sink again;
    COPPICE_CHECK(write_layer(*tree, again, again).has_value());
    COPPICE_CHECK(again.metadata == metadata);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    std::string metadata{reinterpret_cast<const char*>(data), size};
    try_reader(metadata);
    if (size < kBlockBytes || size > (64U << 10U)) return 0;
    seal(metadata);
    try_reader(metadata);
    return 0;
}
