#include "oci_layout.h"

#include "coppice/base/json.h"
#include "coppice/base/text.h"
#include "coppice/base/time.h"
#include "coppice/export/tar_export.h"
#include "coppice/import/oci_image.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "sinks.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace coppice::exports {

using nlohmann::json;
using security::Sha256Digest;

namespace {

constexpr const char* kBlobs = "blobs/sha256";
constexpr std::string_view kSeparators = "-._:@/+";
constexpr std::int64_t kSecond = 1'000'000'000;

std::string named(const Sha256Digest& digest) { return "sha256:" + digest.hex(); }

/// A layout while it is written.
class Layout {
public:
    static Result<Layout> make(int directory)
    {
        TRY(os::make_directory(directory, "blobs", 0700));
        TRY(os::make_directory(directory, kBlobs, 0700));
        auto blobs = TRY(os::open_at(directory, kBlobs, O_RDONLY | O_DIRECTORY));
        return Layout{directory, std::move(blobs)};
    }
    struct Layer {
        Sha256Digest digest, diff_id;
        std::uint64_t bytes = 0;
    };
    Result<Layer> add_layer(const vdisk::Tree& tree, const Context& context)
    {
        const auto file = TRY(os::open_at(blobs_.get(), kPassing, O_WRONLY | O_CREAT | O_EXCL, 0600));
        FileSink out{file.get(), "the layer"};
        HashingSink packed{out};
        GzipSink gzip{packed};
        HashingSink archive{gzip};
        TRY(write_tar(tree, {.path = {}, .form = TarOptions::Form::Layer}, archive, context));
        TRY(gzip.finish());
        TRY(out.flush());
        TRY(os::sync_data(file.get(), "the layer"));
        Layer layer{.digest = packed.finish(), .diff_id = archive.finish(), .bytes = packed.bytes()};
        TRY(os::rename_at(blobs_.get(), kPassing, blobs_.get(), layer.digest.hex()));
        bytes_ += layer.bytes;
        return layer;
    }
    /// @returns its descriptor
    Result<json> add_document(const json& document, std::string_view media_type)
    {
        const auto text = document.dump();
        const auto digest = security::sha256(text);
        TRY(put(blobs_.get(), digest.hex(), text));
        return json{{"mediaType", media_type}, {"digest", named(digest)}, {"size", text.size()}};
    }
    Result<> put(int directory, const std::string& name, std::string_view text)
    {
        bytes_ += text.size();
        return os::replace_file(directory, name, text, 0600, true);
    }
    /// The last thing that is written.
    Result<> finish(const json& index)
    {
        TRY(os::sync_directory(blobs_.get(), "the blobs"));
        const auto outer = TRY(os::open_at(directory_, "blobs", O_RDONLY | O_DIRECTORY));
        TRY(os::sync_directory(outer.get(), "the blobs"));
        TRY(put(directory_, "oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
        return put(directory_, "index.json", index.dump());
    }
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

private:
    static constexpr const char* kPassing = "layer";
    Layout(int directory, os::Fd blobs) : directory_{directory}, blobs_{std::move(blobs)} {}
    int directory_;
    os::Fd blobs_;
    std::uint64_t bytes_ = 0;
};

/// Command, environment, user, labels and so on stay; what speaks of layers becomes what is written here.
Result<json> image_config(const store::Snapshot& snapshot, std::string_view text, const Sha256Digest& diff_id)
{
    auto config = text.empty() ? json::object() : TRY_DOING("configuration", parse_json(text));
    if (!config.is_object()) return fail(ErrorKind::Invalid, "configuration: must be an object");
    const auto set_text = [&](const char* name, const std::string& otherwise) {
        if (const auto found = config.find(name); found == config.end() || !found->is_string())
            config[name] = otherwise;
    };
    const auto nanoseconds = store::nanoseconds(snapshot.created);
    const auto created = to_rfc3339({.tv_sec = nanoseconds / kSecond, .tv_nsec = nanoseconds % kSecond});
    config["created"] = created;
    set_text("os", "linux");
    set_text("architecture", imports::machine_architecture());
    config["rootfs"] = {{"type", "layers"}, {"diff_ids", {named(diff_id)}}};
    config["history"] = {{{"created", created}, {"created_by", cat("coppice snapshot ", snapshot.id.hex())}}};
    if (!snapshot.message.empty()) config["history"][0]["comment"] = snapshot.message;
    return config;
}

} // namespace

Result<> check_reference(std::string_view reference)
{
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    const auto is_known = [&](char c) { return is_plain(c) || kSeparators.find(c) != std::string_view::npos; };
    if (reference.empty()) return {};
    if (reference.size() > 255 || !is_plain(reference.front()) || !is_plain(reference.back()) ||
        !std::ranges::all_of(reference, is_known))
        return fail(Error{ErrorKind::Invalid, cat("'", printable(reference), "' is no image reference")}.hint(
            "such as debian:12 or example.org/team/web:1.0"));
    return {};
}

Result<Exported> write_layout(int directory, const vdisk::Tree& tree, const store::Snapshot& snapshot,
                              std::string_view config_text, const std::string& reference, const Context& context)
{
    TRY(check_reference(reference));
    auto layout = TRY(Layout::make(directory));
    const auto layer = TRY(layout.add_layer(tree, context));
    const auto config = TRY(image_config(snapshot, config_text, layer.diff_id));
    const auto config_descriptor = TRY(layout.add_document(config, "application/vnd.oci.image.config.v1+json"));
    const json layer_descriptor{{"mediaType", "application/vnd.oci.image.layer.v1.tar+gzip"},
                                {"digest", named(layer.digest)},
                                {"size", layer.bytes}};
    const json manifest{{"schemaVersion", 2},
                        {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                        {"config", config_descriptor},
                        {"layers", json::array({layer_descriptor})}};
    auto descriptor = TRY(layout.add_document(manifest, "application/vnd.oci.image.manifest.v1+json"));
    descriptor["platform"] = {{"os", config["os"]}, {"architecture", config["architecture"]}};
    if (!reference.empty()) descriptor["annotations"] = {{"org.opencontainers.image.ref.name", reference}};
    TRY(layout.finish({{"schemaVersion", 2},
                       {"mediaType", "application/vnd.oci.image.index.v1+json"},
                       {"manifests", json::array({descriptor})}}));
    Exported exported;
    exported.bytes = layout.bytes();
    exported.digest = security::sha256(manifest.dump());
    return exported;
}

} // namespace coppice::exports
