// Another name for a working layer: row and directory change together, or neither does.

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/vdisk/working_layers.h"
#include "working_files.h"

#include <cerrno>
#include <climits>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr const char* kRenaming = "renaming"; ///< a link in the layer's directory; its target is the new name

} // namespace

Result<> WorkingLayers::rename(const std::string& name, const std::string& to)
{
    const std::lock_guard lock{mutex_};
    TRY(check_free(to));
    TRY(store_->read([&](const store::View& view) { return store::get_working(view, name); }));
    TRY(check_unmounted(name, ReadOnly::Refused));
    const auto directory = TRY(open_settled(name));
    TRY(os::remove_file(directory.get(), kRenaming)); // of a try that failed
    if (::symlinkat(to.c_str(), directory.get(), kRenaming) < 0)
        return fail_os(errno, cat("note the renaming of ", name));
    // The row must not change before the note is on the disk: the next start would make the layer anew, and empty.
    TRY(os::sync_directory(directory.get(), working_name(name)));
    step("rename noted");
    auto renamed = store_->write([&](store::Txn& txn) { return store::rename_working(txn, name, to); });
    step("rename committed");
    // After a failure, too: what the database says now decides.
    TRY(finish_rename(name));
    return renamed;
}

/// What a directory says of a renaming, as far as the database agrees.
Result<> WorkingLayers::finish_rename(const std::string& name)
{
    const auto all = TRY(os::open_at(store_->directory(), "working", O_RDONLY | O_DIRECTORY));
    const auto directory = TRY(os::open_at(all.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    std::string to(NAME_MAX, '\0');
    const auto got = ::readlinkat(directory.get(), kRenaming, to.data(), to.size());
    if (got < 0 && errno == ENOENT) return {};
    if (got < 0) return fail_os(errno, cat("read the note of the renaming of ", name));
    to.resize(static_cast<std::size_t>(got));
    TRY_DOING(cat("the new name of ", name), check_name(to));
    const bool committed = TRY(store_->read([&](const store::View& view) -> Result<bool> {
        return !TRY(store::find_working(view, name)) && TRY(store::find_working(view, to));
    }));
    if (committed) {
        TRY(os::rename_at(all.get(), name, all.get(), to, false));
        TRY(os::sync_directory(all.get(), "working/"));
    }
    step("rename moved");
    return os::remove_file(directory.get(), kRenaming);
}

Result<> WorkingLayers::finish_renames()
{
    const auto all = TRY(os::open_at(store_->directory(), "working", O_RDONLY | O_DIRECTORY));
    for (const std::string& name : TRY(os::list_subdirectories(all.get(), ".")))
        TRY_DOING(cat("finish the renaming of branch ", name), finish_rename(name));
    return {};
}

} // namespace coppice::vdisk
