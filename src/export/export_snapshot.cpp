#include "coppice/export/export_snapshot.h"

#include "coppice/base/text.h"
#include "coppice/export/tar_export.h"
#include "destination.h"
#include "flat_image.h"
#include "oci_layout.h"
#include "sinks.h"

namespace coppice::exports {

namespace {

Result<vdisk::Tree> tree_of(vdisk::SnapshotTrees& trees, const store::SnapshotId& id, const Context& context)
{
    context.progress({.stage = "reading the snapshot"});
    auto tree = TRY(vdisk::merge_trees(TRY(trees.stack_of(id))));
    tree.sort();
    return tree;
}

/// A single file. @param write gets its bytes to a sink
Result<Exported> export_file(const ExportOptions& options, const std::function<Result<>(vdisk::ByteSink&)>& write)
{
    auto destination = TRY(Destination::make(options.path, Destination::Kind::File));
    FileSink file{destination.get().get(), options.path};
    HashingSink out{file};
    TRY(write(out));
    TRY(file.flush());
    TRY(std::move(destination).complete());
    Exported exported;
    exported.bytes = out.bytes();
    exported.digest = out.finish();
    return exported;
}

Result<Exported> export_layout(store::Store& store, vdisk::SnapshotTrees& trees, const store::SnapshotId& id,
                               const ExportOptions& options, const Context& context)
{
    TRY(check_reference(options.reference));
    auto destination = TRY(Destination::make(options.path, Destination::Kind::Directory));
    std::string config;
    const auto snapshot = TRY(store.read([&](const store::View& view) -> Result<store::Snapshot> {
        config = TRY(store::config_of(view, id));
        return store::get_snapshot(view, id);
    }));
    const auto tree = TRY(tree_of(trees, id, context));
    auto exported = TRY(write_layout(destination.get().get(), tree, snapshot, config, options.reference, context));
    TRY(imports::check_stop(context.stop));
    TRY(std::move(destination).complete());
    return exported;
}

Result<Exported> export_as(store::Store& store, vdisk::SnapshotTrees& trees, const store::SnapshotId& id,
                           const ExportOptions& options, const Context& context)
{
    switch (options.format) {
    case Format::Oci: return export_layout(store, trees, id, options, context);
    case Format::Tar:
        return export_file(options, [&](vdisk::ByteSink& out) { return write_snapshot_tar(trees, id, out, context); });
    case Format::Flat:
        return export_file(options,
                           [&](vdisk::ByteSink& out) { return write_flat_image(store, trees, id, out, context); });
    }
    check_failed("a format", __FILE__, __LINE__);
}

} // namespace

Result<> write_snapshot_tar(vdisk::SnapshotTrees& trees, const store::SnapshotId& id, vdisk::ByteSink& out,
                            const Context& context)
{
    return write_tar(TRY(tree_of(trees, id, context)), {}, out, context);
}

Result<Exported> export_snapshot(store::Store& store, vdisk::SnapshotTrees& trees, const store::SnapshotId& id,
                                 const ExportOptions& options, const Context& context)
{
    auto exported = TRY_DOING(cat("export snapshot ", id.hex()), export_as(store, trees, id, options, context));
    exported.path = options.path;
    return exported;
}

} // namespace coppice::exports
