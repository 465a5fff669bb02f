#include "coppice/storage/verify.h"

#include "coppice/base/text.h"
#include "coppice/store/chunk_reader.h"
#include "coppice/store/seal.h"

#include <set>

namespace coppice::storage {

namespace {

Result<> verify_layer(store::Store& store, const store::Layer& layer, Depth depth, Verified& verified,
                      const store::Watch& watch)
{
    TRY(watch(verified.bytes));
    const auto table = TRY(store::load_table(store, layer));
    static_cast<void>(TRY(store::open_metadata(store, layer)));
    if (depth == Depth::Chain) return {};
    const store::ChunkReader reader{store};
    std::string plain;
    for (std::size_t i = 0; i < table.size(); ++i) {
        TRY(watch(verified.bytes));
        plain.resize(table[i].plain_bytes);
        TRY_DOING(cat("chunk ", i, " of layer ", layer.digest.hex()), reader.read_plain(table[i], plain.data()));
        ++verified.chunks;
        verified.bytes += plain.size();
    }
    return {};
}

} // namespace

Result<Verified> verify(store::Store& store, const store::SnapshotId& id, Depth depth, const store::Watch& watch)
{
    Verified verified;
    const auto key = store.node_key().public_key();
    verified.signer = key.id().hex();
    std::vector<store::Layer> layers;
    TRY(store.read([&](const store::View& view) -> Result<> {
        verified.snapshots = TRY(store::verify_chain(view, id, {&key, 1}));
        std::set<store::LayerDigest> seen;
        for (const store::Snapshot& one : TRY(store::ancestors(view, id)))
            if (one.layer && seen.insert(*one.layer).second) layers.push_back(TRY(store::get_layer(view, *one.layer)));
        return {};
    }));
    for (const store::Layer& layer : layers)
        TRY(verify_layer(store, layer, depth, verified, watch));
    return verified;
}

} // namespace coppice::storage
