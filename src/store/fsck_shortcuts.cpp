#include "coppice/base/text.h"
#include "coppice/store/checked_manifests.h"
#include "coppice/store/chunk_reader.h"
#include "coppice/store/seal.h"
#include "coppice/store/shortcut.h"
#include "fsck_parts.h"
#include "guards.h"

#include <algorithm>

namespace coppice::store {

namespace {

/// That its base is on the line, whatever else; the signature from Crypto on.
Result<> check_row(const FsckRun& run, const Shortcut& shortcut)
{
    return run.store.read([&](const View& view) -> Result<> {
        if (run.level == FsckLevel::Quick) return check_base(view, shortcut);
        return verify_shortcut(view, CheckedManifests{run.store.node_key().public_key()}, shortcut);
    });
}

Result<> check_content(FsckRun& run, const Shortcut& shortcut)
{
    const auto layer = TRY(run.store.read([&](const View& view) { return get_layer(view, shortcut.layer); }));
    static_cast<void>(TRY(open_metadata(run.store, layer)));
    const auto table = TRY(load_table(run.store, layer));
    const ChunkReader reader{run.store};
    std::string plain(kChunkMaxBytes, '\0');
    for (std::size_t i = 0; i < table.size(); ++i) {
        TRY(reader.read_plain(table[i], plain.data()));
        TRY(run.count(table[i].plain_bytes));
    }
    return {};
}

/// Not removed with its snapshot meanwhile, nor replaced by another one.
Result<bool> is_there(const Store& store, const Shortcut& shortcut)
{
    const auto all = TRY(store.read([](const View& view) { return shortcuts(view); }));
    return std::find(all.begin(), all.end(), shortcut) != all.end();
}

} // namespace

Result<> check_shortcuts(FsckRun& run)
{
    const bool bytes = run.level == FsckLevel::Full || run.repairs();
    const auto all = TRY(run.store.read([](const View& view) { return shortcuts(view); }));
    step("shortcuts read");
    for (const Shortcut& shortcut : all) {
        auto good = check_row(run, shortcut);
        if (good && bytes) good = check_content(run, shortcut);
        if (good) continue;
        TRY(run.count(0)); // or it was ended
        if (!TRY(is_there(run.store, shortcut))) continue;
        if (run.repairs()) TRY(run.store.write([&](Txn& txn) { return remove_shortcut(txn, shortcut.snapshot); }));
        run.find(cat("shortcut of snapshot ", shortcut.snapshot.hex(), ": ", good.error().message()), {},
                 run.repairs());
    }
    return {};
}

} // namespace coppice::store
