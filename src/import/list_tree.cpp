#include "list_tree.h"

#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/import/tree_import.h"
#include "coppice/os/file.h"
#include "coppice/vdisk/read_tree.h"

namespace coppice::imports {

namespace {

Result<> check_limits(const vdisk::Scanned& seen, const Limits& limits)
{
    const auto exceeds = [](const std::string& what) { return fail(ErrorKind::Unavailable, cat("more than ", what)); };
    if (seen.entries > limits.entries) return exceeds(cat(limits.entries, " entries"));
    if (seen.depth > limits.depth) return exceeds(cat(limits.depth, " directories below each other"));
    if (seen.path.size() > limits.path_bytes) return exceeds(cat(limits.path_bytes, " bytes of a name"));
    if (seen.file_bytes > limits.logical_bytes) return exceeds(cat(format_bytes(limits.logical_bytes), " of files"));
    if (seen.text_bytes > limits.text_bytes)
        return exceeds(cat(format_bytes(limits.text_bytes), " of names and attributes"));
    return {};
}

} // namespace

Result<vdisk::Tree> list_tree(const os::Fd& directory, const Context& context)
{
    vdisk::ScanOptions options;
    options.check = [&](const vdisk::Scanned& seen) -> Result<> {
        TRY(check_stop(context.stop));
        context.progress({.stage = "listing files", .bytes = seen.file_bytes});
        return check_limits(seen, context.limits);
    };
    TRY(check_stop(context.stop));
    return vdisk::read_tree(directory, options);
}

Result<Imported> import_directory(const std::string& path, const Context& context)
{
    const auto directory = TRY(os::open_at(os::kCwd, path, O_RDONLY | O_DIRECTORY));
    Imported imported;
    imported.tree = TRY_DOING(path, list_tree(directory, context));
    return imported;
}

} // namespace coppice::imports
