#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/export/export_snapshot.h"
#include "coppice/export/tar_export.h"
#include "coppice/os/file.h"
#include "coppice/storage/reference.h"
#include "coppice/storage/verify.h"
#include "storage.h"
#include "storage_json.h"

#include <cerrno>
#include <unistd.h>

namespace coppice::daemon {

namespace {

using nlohmann::json;

constexpr std::int64_t kChangesAtOnce = 100'000;

Error stopped() { return {ErrorKind::Unavailable, "nobody waits for the answer any more"}; }

/// The changes of a comparison: a page of them by name, and all by number.
class Summary {
public:
    /// @param after path of the last change of the page before; empty: from the first one on
    Summary(std::size_t most, std::optional<std::string> after, std::stop_token stop)
        : most_{most}, after_{std::move(after)}, stop_{std::move(stop)}
    {
    }

    Result<> take(const vdisk::Change& change)
    {
        if (stop_.stop_requested()) return fail(stopped());
        using enum vdisk::Change::Kind;
        ++(change.kind == Added ? added_ : change.kind == Removed ? removed_ : changed_);
        old_bytes_ += change.old_bytes;
        new_bytes_ += change.new_bytes;
        if (after_) {
            if (change.path == *after_) after_.reset();
        } else if (changes_.size() < most_)
            changes_.push_back(change_json(change));
        else
            truncated_ = true;
        return {};
    }
    /// Errors: Conflict (there is no change at the path behind which the page was to begin)
    Result<json> finish()
    {
        if (after_)
            return fail(Error{ErrorKind::Conflict, cat(printable(*after_), " differs no more")}.hint("begin again"));
        return json{{"changes", std::move(changes_)},
                    {"truncated", truncated_},
                    {"added", added_},
                    {"removed", removed_},
                    {"changed", changed_},
                    {"old_bytes", old_bytes_},
                    {"new_bytes", new_bytes_}};
    }

private:
    std::size_t most_;
    std::optional<std::string> after_; ///< until it has come
    std::stop_token stop_;
    json changes_ = json::array();
    bool truncated_ = false;
    std::uint64_t added_ = 0, removed_ = 0, changed_ = 0, old_bytes_ = 0, new_bytes_ = 0;
};

Result<Reply> compare(const StorageApiPtr& api, const Request& request)
{
    const auto limit = TRY(request.query_integer("limit", 0, kChangesAtOnce, kChangesAtOnce));
    const auto from_text = TRY(request.query_text("from"));
    const auto after = request.query.find("after");
    Summary summary{static_cast<std::size_t>(limit),
                    after == request.query.end() ? std::nullopt : std::optional{after->second}, request.stop};
    const auto take = [&](const vdisk::Change& change) { return summary.take(change); };
    const auto to_text = request.query.find("to");
    const auto from = TRY(api->store().read(
        [&](const store::View& view) -> Result<storage::Reference> { return storage::resolve(view, from_text); }));
    if (to_text == request.query.end()) {
        if (from.branch.empty())
            return fail(Error{ErrorKind::Invalid, cat("compare ", from_text, " with what?")}.hint(
                "name a second snapshot; a branch alone is compared with the snapshot below it"));
        const auto lease = TRY(api->storage->lease({from.snapshot.id}));
        const auto working =
            TRY(api->store().read([&](const store::View& view) { return store::get_working(view, from.branch); }));
        TRY(api->storage->trees().diff_working(working, take));
    } else {
        const auto to = TRY(snapshot_named(*api, to_text->second));
        const auto lease = TRY(api->storage->lease({from.snapshot.id, to}));
        TRY(api->storage->trees().diff(from.snapshot.id, to, take));
    }
    auto page = TRY(summary.finish());
    return Reply::json(std::move(page));
}

class FileSink final : public vdisk::ByteSink {
public:
    FileSink(const os::Fd& file, std::stop_token stop) : file_{file}, stop_{std::move(stop)} {}
    /// Zeros become holes.
    Result<> write(std::string_view bytes) override
    {
        if (stop_.stop_requested()) return fail(stopped());
        size_ += static_cast<off_t>(bytes.size());
        if (bytes.find_first_not_of('\0') != std::string_view::npos) {
            if (::lseek(file_.get(), size_ - static_cast<off_t>(bytes.size()), SEEK_SET) < 0)
                return fail_os(errno, "seek in a temporary file");
            return os::write_all(file_.get(), bytes, "a temporary file");
        }
        return ::ftruncate(file_.get(), size_) == 0 ? Result<>{} : fail_os(errno, "lengthen a temporary file");
    }

private:
    const os::Fd& file_;
    std::stop_token stop_;
    off_t size_ = 0;
};

/// What the query asks for, out of a stack of layers.
Result<Reply> send_file(const StorageApi& api, const Request& request, const vdisk::TreeStack& stack)
{
    const auto path = TRY(request.query_text("path"));
    const bool as_tar = TRY(request.query_boolean("tar"));
    const bool devices = TRY(request.query_boolean("devices"));
    // It is put together before the first byte is sent: what turns out to be damaged is an error, not half a file.
    auto file = TRY(os::open_at(api.store().directory(), "tmp", O_RDWR | O_TMPFILE, 0600));
    FileSink sink{file, request.stop};
    if (as_tar) {
        auto tree = TRY(vdisk::merge_trees(stack));
        tree.sort();
        exports::TarOptions options;
        options.path = path;
        options.devices = devices;
        TRY(exports::write_tar(tree, options, sink, {}));
    } else {
        TRY(vdisk::SnapshotTrees::copy_file(stack, path, sink));
    }
    Reply reply;
    reply.type = "application/octet-stream";
    reply.file = std::make_shared<const os::Fd>(std::move(file));
    return reply;
}

Result<Reply> get_file(const StorageApiPtr& api, const Request& request)
{
    const auto id = TRY(snapshot_named(*api, request.param("ref")));
    const auto lease = TRY(api->storage->lease({id}));
    return send_file(*api, request, TRY(api->storage->trees().stack_of(id)));
}

Result<Reply> get_branch_file(const StorageApiPtr& api, const Request& request)
{
    const auto branch = TRY(
        api->store().read([&](const store::View& view) { return store::get_working(view, request.param("name")); }));
    const auto lease = TRY(api->storage->lease({branch.snapshot}));
    return send_file(*api, request, TRY(api->storage->trees().stack_of_working(branch)));
}

Result<exports::Format> parse_format(const std::string& word)
{
    if (word == "oci") return exports::Format::Oci;
    if (word == "tar") return exports::Format::Tar;
    if (word == "flat") return exports::Format::Flat;
    return fail(ErrorKind::Invalid, cat("'", printable(word), "' is no format: oci, tar or flat is one"));
}

Result<Reply> export_snapshot(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"format", "path", "reference"}));
    const JsonNode body{request.body};
    exports::ExportOptions options;
    options.format = TRY(parse_format(TRY(TRY(body.get("format")).text())));
    options.path = TRY(TRY(body.get("path")).text());
    options.reference = TRY(body.text_or("reference", ""));
    if (!options.path.starts_with('/'))
        return fail(ErrorKind::Invalid, cat(printable(options.path), " is no absolute path"));
    const auto id = TRY(snapshot_named(*api, request.param("ref")));
    return begin(api, "vdisk.export", cat("/v1/snapshots/", id.hex()),
                 [api, id, options = std::move(options)](OperationContext& operation) -> Result<json> {
                     const auto lease = TRY(api->storage->lease({id}, storage::Storage::Keep::Snapshots));
                     const auto done = TRY(exports::export_snapshot(api->store(), api->storage->trees(), id, options,
                                                                    import_context(operation)));
                     return json{{"path", done.path}, {"bytes", done.bytes}, {"digest", done.digest.hex()}};
                 });
}

Result<Reply> verify(const StorageApiPtr& api, const Request& request)
{
    TRY(check_members(request.body, {"deep"}));
    const bool deep = TRY(JsonNode{request.body}.boolean_or("deep", false));
    const auto id = TRY(snapshot_named(*api, request.param("ref")));
    return begin(api, "snapshot.verify", cat("/v1/snapshots/", id.hex()),
                 [api, id, deep](OperationContext& operation) -> Result<json> {
                     const auto verified =
                         TRY(storage::verify(api->store(), id, deep ? storage::Depth::Deep : storage::Depth::Chain,
                                             watch_of(operation, "verifying")));
                     return json{{"snapshots", verified.snapshots},
                                 {"chunks", verified.chunks},
                                 {"bytes", verified.bytes},
                                 {"signer", verified.signer}};
                 });
}

} // namespace

std::vector<StorageRow> content_rows()
{
    using enum Method;
    return {with_query({Get, "/v1/diff", "compare", "", compare}, {"from", "to", "limit", "after"}),
            {.method = Get,
             .path = "/v1/snapshots/{ref}/files",
             .id = "getFile",
             .body_schema = "",
             .handler = get_file,
             .type = "application/octet-stream",
             .query = {"path", "tar", "devices"}},
            {.method = Get,
             .path = "/v1/branches/{name}/files",
             .id = "getBranchFile",
             .body_schema = "",
             .handler = get_branch_file,
             .type = "application/octet-stream",
             .query = {"path", "tar", "devices"}},
            {Post, "/v1/snapshots/{ref}/export", "exportSnapshot", "ExportRequest", export_snapshot, true},
            {Post, "/v1/snapshots/{ref}/verify", "verifySnapshot", "VerifyRequest", verify, true}};
}

} // namespace coppice::daemon
