#include "coppice/import/tree_import.h"

#include "coppice/base/text.h"
#include "layer_diff.h"
#include "nested_image.h"

#include <sys/stat.h>
#include <unistd.h>

namespace coppice::imports {

namespace {

/// Whether this is a file in which content can stay.
Result<bool> can_stay(const os::Fd& archive)
{
    struct stat status{};
    if (::fstat(archive.get(), &status) < 0) return fail_os(errno, "stat the archive");
    if (!S_ISREG(status.st_mode) || ::lseek(archive.get(), 0, SEEK_CUR) != 0) return false;
    std::string first(kMagicBytes, '\0');
    const auto got = os::retry_eintr([&] { return ::pread(archive.get(), first.data(), first.size(), 0); });
    if (got < 0) return fail_os(errno, "read the archive");
    first.resize(static_cast<std::size_t>(got));
    return detect_compression(first) == Compression::None;
}

} // namespace

Result<Imported> import_tar(os::Fd archive, const std::string& name, const ImageChoice& choice, const Context& context)
{
    TreeBuilder builder{context.limits, TreeBuilder::Form::Plain};
    std::unique_ptr<Contents> contents;
    const bool stays = TRY(can_stay(archive));
    if (stays)
        contents = TRY(InPlace::make(archive, name, context.spool));
    else
        contents = TRY(Spool::make(context.spool));
    FileStream file{std::move(archive), name, context.stop};
    UnpackBudget budget{context.limits};
    const auto unpacked = TRY(decompress(file, budget, true, name));
    const std::uint64_t total = file.total();
    const Reading reading{.stage = "reading the archive", .done = [&] { return file.position(); }, .total = total};
    TRY_DOING(name, add_archive(*unpacked, TarReader::End::Marked, *contents, builder, context, reading));
    // Behind the end mark are a packed archive's sums, and what a program still wants to get rid of.
    if (!stays) TRY(HashingStream{*unpacked}.finish());
    Imported imported;
    imported.tree = std::move(builder).take_tree();
    if (!is_image(imported.tree)) return imported;
    return with_context(read_nested_image(imported.tree, choice, context, budget, stays), name);
}

} // namespace coppice::imports
