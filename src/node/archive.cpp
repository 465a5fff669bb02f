#include "coppice/node/archive.h"

#include "coppice/base/id.h"
#include "coppice/base/json.h"
#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/export/archive.h"
#include "coppice/export/tar_export.h"
#include "coppice/import/archive.h"
#include "coppice/import/import_image.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/store/vdisk.h"
#include "coppice/vdisk/write_tree.h"
#include "parts.h"

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace coppice::node {

using exports::ArchivePart;
using instance::InstanceConfig;

namespace {

constexpr const char* kDescription = "instance.json";
constexpr const char* kContent = "content.tar";
constexpr const char* kImage = "image.json"; ///< OCI image configuration
constexpr std::size_t kDescriptionBytes = 4U << 20;

std::string volume_part(std::size_t number) { return cat("volumes/", number, ".tar"); }

Result<os::Fd> open_spool(storage::Storage& storage)
{
    return os::open_at(storage.store().directory(), "tmp", O_RDONLY | O_DIRECTORY);
}

// --- export

/// What it holds now.
Result<store::SnapshotId> freeze(Instances& instances, storage::Storage& storage, const ExportWish& wish,
                                 const store::Watch& watch)
{
    const auto branch =
        TRY(storage.store().read([&](const store::View& view) { return store::get_working(view, wish.name); }));
    if (TRY(storage.layers().is_empty(wish.name))) return branch.snapshot;
    vdisk::FreezeNote note;
    note.author = wish.author;
    note.message = cat("exported as ", wish.path);
    return TRY(instances.snapshot(wish.name, note, watch)).snapshot.id;
}

/// A description without what is of this machine.
struct Travelling {
    InstanceConfig config;            ///< its volumes are named by their parts
    std::vector<std::string> sources; ///< of these, here
    std::vector<std::string> left_out;
};

Travelling travelling(const InstanceConfig& config, bool with_volumes)
{
    Travelling gone{.config = config, .sources = {}, .left_out = {}};
    instance::forget_runs(gone.config);
    gone.config.snapshot.clear();
    for (const instance::Device& device : std::exchange(gone.config.devices, {}))
        gone.left_out.push_back(cat("device ", device.destination));
    for (instance::Volume& volume : std::exchange(gone.config.volumes, {})) {
        struct stat status{};
        if (!with_volumes || ::stat(volume.source.c_str(), &status) < 0 || !S_ISDIR(status.st_mode)) {
            gone.left_out.push_back(cat("volume ", volume.destination));
            continue;
        }
        gone.sources.push_back(std::exchange(volume.source, volume_part(gone.sources.size())));
        gone.config.volumes.push_back(std::move(volume));
    }
    return gone;
}

ArchivePart text_part(std::string name, std::string text)
{
    return {.name = std::move(name),
            .write = [text = std::move(text)](vdisk::ByteSink& out) { return out.write(text); }};
}

ArchivePart directory_part(std::string name, const std::string& path, const imports::Context& context)
{
    return {.name = std::move(name), .write = [path, &context](vdisk::ByteSink& out) -> Result<> {
                auto imported = TRY(imports::import_directory(path, context));
                imported.tree.sort();
                return exports::write_tar(imported.tree, {}, out, context);
            }};
}

// --- import

/// What a file says, checked as far as that goes without making anything.
struct Offered {
    InstanceConfig config;
    std::string image; ///< OCI image configuration, or empty
    std::vector<std::string> left_out;
    std::string message; ///< of its snapshot: the same for the same content
    imports::ArchiveParts parts;
};

Result<const imports::CheckedPart*> part_named(const imports::ArchiveParts& parts, const std::string& name)
{
    const auto part = parts.find(name);
    if (part == parts.end()) return fail(ErrorKind::Corrupt, cat("there is no ", name, " in it"));
    return &part->second;
}

/// A description by a stranger names nothing of this machine.
Result<> check_description(const InstanceConfig& config)
{
    for (std::size_t i = 0; i < config.volumes.size(); ++i)
        if (config.volumes[i].source != volume_part(i))
            return fail(ErrorKind::Corrupt,
                        cat("volume ", printable(config.volumes[i].destination), " is to be a path of this machine"));
    if (!config.devices.empty()) return fail(ErrorKind::Corrupt, "it asks for devices of this machine");
    if (!config.seccomp.empty() && config.seccomp != instance::kUnconfined &&
        TRY(parse_json(config.seccomp)).contains("listenerPath"))
        return fail(ErrorKind::Corrupt, "its filter asks for a socket of this machine");
    if (config.root.starts_with('/')) return fail(ErrorKind::Corrupt, "its root is a path of this machine");
    return {};
}

/// What would let it do more than others is not for a stranger's file to say.
std::vector<std::string> drop_privileges(InstanceConfig& config)
{
    std::vector<std::string> dropped;
    for (const std::string& capability : std::exchange(config.cap_add, {}))
        dropped.push_back(cat("capability ", capability));
    if (!std::exchange(config.seccomp, {}).empty()) dropped.emplace_back("seccomp filter");
    if (const auto profile = std::exchange(config.apparmor, {}); !profile.empty())
        dropped.push_back(cat("apparmor profile ", profile));
    return dropped;
}

Result<Offered> read_offer(const ImportWish& wish, const imports::Context& context)
{
    auto file = TRY(os::open_at(os::kCwd, wish.path, O_RDONLY | O_NONBLOCK));
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, wish.path);
    if (!S_ISREG(status.st_mode)) return fail(ErrorKind::Invalid, cat(printable(wish.path), " is no file"));
    Offered offered;
    offered.parts = TRY(imports::read_archive(std::move(file), wish.path, context));
    const auto read = [&]() -> Result<> {
        const auto* const description = TRY(part_named(offered.parts, kDescription));
        const auto text = TRY(os::read_all(description->file, kDescriptionBytes, kDescription));
        offered.config = TRY_DOING(kDescription, instance::parse_instance_config(text));
        TRY_DOING(kDescription, check_description(offered.config));
        for (std::size_t i = 0; i < offered.config.volumes.size(); ++i)
            TRY(part_named(offered.parts, volume_part(i)));
        offered.message = cat("what an exported instance held; SHA-256 of the content: ",
                              TRY(part_named(offered.parts, kContent))->sha256);
        const auto image = offered.parts.find(kImage);
        if (image != offered.parts.end())
            offered.image = TRY(os::read_all(image->second.file, store::kConfigMaxBytes, kImage));
        return {};
    };
    TRY(with_context(read(), wish.path));
    instance::forget_runs(offered.config);
    if (!wish.keep_privileges) offered.left_out = drop_privileges(offered.config);
    if (!wish.name.empty()) offered.config.name = wish.name;
    return offered;
}

/// A version of some vdisk.
struct Base {
    std::string vdisk;
    std::uint64_t number = 0;
    store::SnapshotId snapshot;
    bool is_new = false;
};

Result<std::optional<Base>> find_base(storage::Storage& storage, const std::string& message)
{
    return storage.store().read([&](const store::View& view) -> Result<std::optional<Base>> {
        for (const store::Vdisk& vdisk : TRY(store::all_vdisks(view)))
            for (const store::Version& version : TRY(store::versions(view, vdisk.id)))
                if (TRY(store::get_snapshot(view, version.snapshot)).message == message)
                    return std::optional{
                        Base{.vdisk = vdisk.name, .number = version.number, .snapshot = version.snapshot}};
        return std::optional<Base>{};
    });
}

/// Somebody may have a vdisk, or a branch, of that name.
Result<std::string> free_name(storage::Storage& storage, const std::string& wanted)
{
    return storage.store().read([&](const store::View& view) -> Result<std::string> {
        for (std::size_t number = 1;; ++number) {
            std::string name = number == 1 ? wanted : cat(wanted, '-', number);
            if (!TRY(store::find_vdisk(view, name)) && !TRY(store::find_working(view, name))) return name;
        }
    });
}

Result<Base> make_base(storage::Storage& storage, const Offered& offered, const std::string& author,
                       const imports::Context& context)
{
    if (auto known = TRY(find_base(storage, offered.message))) return *std::move(known);
    auto content = TRY(TRY(part_named(offered.parts, kContent))->file.duplicate());
    auto imported = TRY(imports::import_tar(std::move(content), kContent, {}, context));
    imported.config = offered.image;
    imports::ImportOptions options;
    options.vdisk = TRY(free_name(storage, cat(offered.config.name, "-image")));
    options.key = cat("instance import ", random_hex(16));
    options.author = author;
    options.message = offered.message;
    const auto made = TRY(imports::import_image(storage.store(), std::move(imported), options, context));
    storage.wake();
    return Base{.vdisk = options.vdisk, .number = made.number, .snapshot = made.snapshot, .is_new = true};
}

/// As if it had never been made.
Result<> remove_base(storage::Storage& storage, const Base& base)
{
    return storage.remove({}, {&base.snapshot, 1}, [&](store::Txn& txn) -> Result<> {
        const auto vdisk = TRY(store::get_vdisk(txn, base.vdisk));
        TRY(store::remove_version(txn, vdisk.id, base.number));
        TRY(store::remove_snapshot(txn, base.snapshot));
        return TRY(store::log(txn, vdisk.id, 1)).empty() ? store::remove_vdisk(txn, vdisk.id) : Result<>{};
    });
}

} // namespace

Result<ExportedInstance> export_instance(Instances& instances, storage::Storage& storage, const ExportWish& wish,
                                         const imports::Context& context)
{
    const auto known = TRY(instances.find(wish.name));
    if (known.config.snapshot.empty())
        return fail(
            Error{ErrorKind::Invalid, cat("instance ", wish.name, " is on no vdisk: it cannot be exported")}.hint(
                "make a vdisk of its root: coppice vdisk import"));
    const auto spool = TRY(open_spool(storage));
    imports::Context own = context;
    own.spool = spool.get();
    const auto id =
        TRY(freeze(instances, storage, wish, [&](std::uint64_t) { return imports::check_stop(context.stop); }));
    const auto lease = TRY(storage.lease({id}, storage::Storage::Keep::Snapshots));
    auto gone = travelling(known.config, wish.with_volumes);
    const auto image = TRY(storage.store().read([&](const store::View& view) { return store::config_of(view, id); }));

    std::vector<ArchivePart> parts{text_part(kDescription, instance::to_json(gone.config))};
    if (!image.empty()) parts.push_back(text_part(kImage, image));
    parts.push_back({.name = kContent, .write = [&](vdisk::ByteSink& out) {
                         return exports::write_snapshot_tar(storage.trees(), id, out, own);
                     }});
    for (std::size_t i = 0; i < gone.sources.size(); ++i)
        parts.push_back(directory_part(volume_part(i), gone.sources[i], own));
    ExportedInstance exported{.file = {}, .snapshot = id, .left_out = std::move(gone.left_out)};
    exported.file = TRY_DOING(cat("export instance ", wish.name), exports::write_archive(wish.path, parts, own));
    return exported;
}

namespace {

Result<> look_as(const os::Fd& directory, const vdisk::Attributes& wanted)
{
    if (::fchown(directory.get(), wanted.uid, wanted.gid) < 0 || ::fchmod(directory.get(), wanted.mode & 07777) < 0)
        return fail_os(errno, "set up a volume");
    return {};
}

/// Volumes below the store's tmp/, until there is an instance to have them.
class Volumes {
public:
    explicit Volumes(int spool) : spool_{spool} {}
    Volumes(const Volumes&) = delete;
    Volumes& operator=(const Volumes&) = delete;
    ~Volumes()
    {
        if (!name_.empty()) (void)os::remove_tree(spool_, name_).has_value(); // else the next start does
    }

    Result<> unpack(const Offered& offered, const imports::Context& context)
    {
        if (offered.config.volumes.empty()) return {};
        name_ = cat("volumes-", random_hex(16));
        TRY(os::make_directory(spool_, name_, 0700));
        for (std::size_t i = 0; i < offered.config.volumes.size(); ++i) {
            const auto part = volume_part(i);
            auto file = TRY(TRY(part_named(offered.parts, part))->file.duplicate());
            auto imported = TRY(imports::import_tar(std::move(file), part, {}, context));
            imported.tree.sort();
            TRY(os::make_directory(spool_, cat(name_, '/', i), 0755));
            const auto root = TRY(os::open_at(spool_, cat(name_, '/', i), O_RDONLY | O_DIRECTORY));
            TRY(look_as(root, imported.tree.attributes(vdisk::Tree::root())));
            TRY_DOING(part, vdisk::write_tree(imported.tree, "", root.get()));
        }
        return os::sync_file_system(spool_, "the volumes of an import");
    }
    /// @param directory path of the instance's
    Result<> hand_over(const std::string& directory)
    {
        if (name_.empty()) return {};
        TRY(os::rename_at(spool_, name_, os::kCwd, directory + "/volumes", false));
        name_.clear();
        return os::sync_directory(TRY(os::open_at(os::kCwd, directory, O_RDONLY | O_DIRECTORY)).get(), directory);
    }

private:
    int spool_;
    std::string name_;
};

/// The instance on its base, with its volumes. Errors leave nothing of it.
Result<> make_instance(Instances& instances, InstanceConfig config, const Base& base, Volumes& volumes)
{
    const std::string directory = instances.path_of(config.name);
    config.root = cat(base.vdisk, ':', base.number);
    config.snapshot = base.snapshot.hex();
    for (std::size_t i = 0; i < config.volumes.size(); ++i)
        config.volumes[i].source = cat(directory, "/volumes/", i);
    TRY(instances.create(config));
    auto handed_over = volumes.hand_over(directory);
    if (!handed_over) TRY(instances.remove(config.name));
    return handed_over;
}

} // namespace

Result<ImportedInstance> import_instance(Instances& instances, storage::Storage& storage, const ImportWish& wish,
                                         const imports::Context& context)
{
    if (!wish.name.empty()) TRY_DOING(cat("instance name '", printable(wish.name), "'"), check_name(wish.name));
    const auto spool = TRY(open_spool(storage));
    imports::Context own = context;
    own.spool = spool.get();
    own.spool_path = storage.store().root() + "/tmp";
    const auto offered = TRY(read_offer(wish, own));
    TRY(instances.check_free(offered.config.name)); // before hours are spent
    Volumes volumes{spool.get()};
    TRY(volumes.unpack(offered, own));
    const auto base = TRY(make_base(storage, offered, wish.author, own));
    auto made = make_instance(instances, offered.config, base, volumes);
    if (!made && base.is_new)
        if (const auto removed = remove_base(storage, base); !removed)
            log::warn("node", "an import could not be undone",
                      {{"vdisk", base.vdisk}, {"error", removed.error().line()}});
    TRY(std::move(made));
    return ImportedInstance{.name = offered.config.name,
                            .root = cat(base.vdisk, ':', base.number),
                            .snapshot = base.snapshot,
                            .left_out = offered.left_out};
}

} // namespace coppice::node
