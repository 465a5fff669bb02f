#include "working_files.h"

#include "coppice/base/text.h"
#include "coppice/os/features.h"
#include "coppice/os/file.h"
#include "coppice/store/layer.h"
#include "coppice/vdisk/layer_reader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/xattr.h>
#include <unistd.h>

namespace coppice::vdisk {

void (*on_step)(std::string_view step) = nullptr;

namespace {

constexpr const char* kBootXattr = "trusted.coppice.boot";
constexpr const char* kDoubtfulXattr = "trusted.coppice.doubtful"; ///< a sync has failed since it was made
constexpr const char* kBelowXattr = "trusted.coppice.below";
constexpr std::size_t kXattrMost = 64U << 10; // XATTR_SIZE_MAX, XATTR_LIST_MAX

void sort_names(std::vector<Xattr>& xattrs)
{
    std::erase_if(xattrs, [](const Xattr& xattr) { return xattr.name.starts_with("trusted."); });
    std::sort(xattrs.begin(), xattrs.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
}

Result<RootLook> look_of_layer(const store::Store& store, const store::Layer& layer)
{
    auto reader = TRY(LayerReader::open(TRY(store::open_metadata(store, layer))));
    const auto root = TRY(reader.inode(LayerReader::root()));
    RootLook look{.attributes = root.attributes, .xattrs = {}};
    look.xattrs = TRY(reader.xattrs(root));
    sort_names(look.xattrs);
    return look;
}

} // namespace

Result<RootLook> look_of(const Tree& tree)
{
    RootLook look{.attributes = tree.attributes(Tree::root()), .xattrs = tree.xattrs(Tree::root())};
    sort_names(look.xattrs);
    return look;
}

Result<RootLook> look_of_directory(int directory)
{
    struct stat status{};
    if (::fstat(directory, &status) < 0) return fail_os(errno, "stat a layer's root directory");
    RootLook look{.attributes = {.mode = status.st_mode,
                                 .uid = status.st_uid,
                                 .gid = status.st_gid,
                                 .mtime = {.seconds = status.st_mtim.tv_sec,
                                           .nanoseconds = static_cast<std::uint32_t>(status.st_mtim.tv_nsec)}},
                  .xattrs = {}};
    std::string names(kXattrMost, '\0');
    const auto got = ::flistxattr(directory, names.data(), names.size());
    if (got < 0) return fail_os(errno, "list the attributes of a layer's root directory");
    names.resize(static_cast<std::size_t>(got));
    for (const std::string_view name : split(names, '\0')) {
        if (!can_store_xattr(name) || name.starts_with("trusted.")) continue;
        Xattr xattr{.name = std::string{name}, .value = std::string(kXattrMost, '\0')};
        const auto size = ::fgetxattr(directory, xattr.name.c_str(), xattr.value.data(), xattr.value.size());
        if (size < 0) return fail_os(errno, cat("read attribute ", name, " of a layer's root directory"));
        xattr.value.resize(static_cast<std::size_t>(size));
        look.xattrs.push_back(std::move(xattr));
    }
    sort_names(look.xattrs);
    return look;
}

Result<RootLook> look_of_snapshot(const store::Store& store, const store::SnapshotId& id)
{
    std::optional<store::Layer> layer;
    const auto top = TRY(store.read([&](const store::View& view) -> Result<store::Snapshot> {
        auto nearest = TRY(store::nearest_content(view, id));
        if (nearest.layer) layer = TRY(store::get_layer(view, *nearest.layer));
        return nearest;
    }));
    if (layer) return look_of_layer(store, *layer);
    const auto directory = TRY(os::open_at(store.directory(), frozen_name(top.id), O_RDONLY | O_DIRECTORY));
    return look_of_directory(directory.get());
}

Result<> make_upper(int directory, const std::string& path, const RootLook& look, const store::SnapshotId& below)
{
    TRY(os::make_directory(directory, path, 0700));
    const auto made = TRY(os::open_at(directory, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    const Attributes& wanted = look.attributes;
    if (::fchown(made.get(), wanted.uid, wanted.gid) < 0 || ::fchmod(made.get(), wanted.mode & 07777) < 0)
        return fail_os(errno, cat("set up ", path));
    for (const Xattr& xattr : look.xattrs)
        if (::fsetxattr(made.get(), xattr.name.c_str(), xattr.value.data(), xattr.value.size(), 0) < 0)
            return fail_os(errno, cat("set attribute ", xattr.name, " of ", path));
    const auto hex = below.hex();
    if (::fsetxattr(made.get(), kBelowXattr, hex.data(), hex.size(), 0) < 0)
        return fail_os(errno, cat("note the snapshot below ", path));
    const timespec mtime{.tv_sec = wanted.mtime.seconds, .tv_nsec = wanted.mtime.nanoseconds};
    const std::array<timespec, 2> times{mtime, mtime};
    if (::futimens(made.get(), times.data()) < 0) return fail_os(errno, cat("set the time of ", path));
    return {};
}

Result<std::optional<store::SnapshotId>> find_below(int directory, const std::string& path)
{
    const auto upper = TRY(os::open_at(directory, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    std::string noted(64, '\0');
    const auto got = ::fgetxattr(upper.get(), kBelowXattr, noted.data(), noted.size());
    if (got < 0) {
        if (errno == ENODATA) return std::optional<store::SnapshotId>{};
        return fail_os(errno, cat("read the snapshot below ", path));
    }
    noted.resize(static_cast<std::size_t>(got));
    const auto below = TRY_DOING(cat("the snapshot below ", path), store::SnapshotId::parse(noted));
    return std::optional{below};
}

Result<bool> is_lost(const store::Store& store, const store::Snapshot& snapshot)
{
    if (snapshot.state != store::SnapshotState::Frozen) return false;
    if (TRY(os::is_there(store.directory(), frozen_name(snapshot.id)))) return false;
    // Since its row was read it may have been sealed, or removed, and the directory with that.
    const auto row = TRY(store.read([&](const store::View& view) { return store::find_snapshot(view, snapshot.id); }));
    return row && row->state == store::SnapshotState::Frozen;
}

Result<> note_boot(int upper)
{
    const auto boot = TRY(os::boot_id());
    if (::fsetxattr(upper, kBootXattr, boot.data(), boot.size(), 0) < 0)
        return fail_os(errno, "note the boot at a working layer");
    return {};
}

Result<bool> is_of_this_boot(int frozen)
{
    std::string noted(64, '\0');
    const auto got = ::fgetxattr(frozen, kBootXattr, noted.data(), noted.size());
    if (got < 0) {
        if (errno == ENODATA || errno == ERANGE) return false;
        return fail_os(errno, "read the boot of a frozen directory");
    }
    noted.resize(static_cast<std::size_t>(got));
    return noted == TRY(os::boot_id());
}

Result<> mark_doubtful(int upper)
{
    if (::fsetxattr(upper, kDoubtfulXattr, "y", 1, 0) < 0) return fail_os(errno, "mark a directory as doubtful");
    return {};
}

Result<bool> is_marked_doubtful(int upper)
{
    std::array<char, 1> mark{};
    if (::fgetxattr(upper, kDoubtfulXattr, mark.data(), mark.size()) >= 0 || errno == ERANGE) return true;
    if (errno == ENODATA) return false;
    return fail_os(errno, "read whether a directory is doubtful");
}

} // namespace coppice::vdisk
