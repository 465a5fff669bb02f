#include "coppice/import/oci_image.h"

#include "coppice/base/text.h"
#include "image_choice.h"
#include "layer_diff.h"
#include "nested_image.h"
#include "oci_documents.h"

#include <algorithm>
#include <set>
#include <sys/utsname.h>

namespace coppice::imports {

using vdisk::InodeId;
using vdisk::Tree;

namespace {

constexpr int kLinkHops = 8;

/// A file of a tree from its start.
class ContentStream final : public ByteStream {
public:
    ContentStream(std::unique_ptr<vdisk::OpenContent> content, std::uint64_t bytes, std::stop_token stop)
        : content_{std::move(content)}, bytes_{bytes}, stop_{std::move(stop)}
    {
    }
    Result<std::size_t> read(std::span<char> out) override
    {
        TRY(check_stop(stop_));
        const std::size_t wanted = std::min<std::uint64_t>(out.size(), bytes_ - at_);
        if (wanted > 0) TRY(content_->read(at_, out.first(wanted)));
        at_ += wanted;
        return wanted;
    }

private:
    std::unique_ptr<vdisk::OpenContent> content_;
    std::uint64_t bytes_, at_ = 0;
    std::stop_token stop_;
};

/// The files of an image by name.
class Files {
public:
    Files(const Tree& tree, const Context& context) : tree_{&tree}, context_{&context} {}

    /// @param follow docker's archives share layers by links: "../OTHER/layer.tar"
    [[nodiscard]] Result<std::unique_ptr<ByteStream>> open(const std::string& name, bool follow = false) const
    {
        const auto inode = find(name, follow);
        if (!inode || !tree_->is_file(*inode))
            return fail(ErrorKind::Corrupt, cat("the image has no file ", printable(name)));
        if (tree_->size(*inode) == 0) return std::make_unique<ContentStream>(nullptr, 0, context_->stop);
        auto content = TRY_DOING(printable(name), tree_->open_content(*inode));
        return std::make_unique<ContentStream>(std::move(content), tree_->size(*inode), context_->stop);
    }
    [[nodiscard]] Result<std::string> read(const std::string& name) const
    {
        const auto stream = TRY(open(name));
        return read_rest(*stream, context_->limits.document_bytes, name);
    }
    /// Checked against its digest.
    [[nodiscard]] Result<std::string> read_blob(const Descriptor& descriptor) const
    {
        auto text = TRY(read(blob_name(descriptor)));
        if (text.size() != descriptor.bytes || security::sha256(text) != descriptor.digest)
            return fail(ErrorKind::Corrupt, cat(blob_name(descriptor), " is not what its name says (wrong digest)"));
        return text;
    }
    [[nodiscard]] std::optional<InodeId> find(std::string name, bool follow = false) const;
    static std::string blob_name(const Descriptor& descriptor) { return "blobs/sha256/" + descriptor.digest.hex(); }

private:
    const Tree* tree_;
    const Context* context_;
};

std::optional<InodeId> Files::find(std::string name, bool follow) const
{
    for (int hop = 0; hop <= kLinkHops; ++hop) {
        const auto inode = tree_->find_path(name);
        if (!inode || !follow || !tree_->is_link(*inode)) return inode;
        std::vector<std::string_view> parts;
        const auto slash = name.rfind('/');
        const std::string whole =
            cat(name.substr(0, slash == std::string::npos ? 0 : slash), '/', tree_->target(*inode));
        for (const auto part : split(whole, '/')) {
            if (part.empty() || part == ".") continue;
            if (part != "..")
                parts.push_back(part);
            else if (!parts.empty())
                parts.pop_back();
        }
        std::string next;
        for (const auto part : parts)
            next += cat(next.empty() ? "" : "/", part);
        name = std::move(next);
    }
    return {};
}

/// What is read, and what that may cost.
struct Reader {
    const Files& files;
    const Context& context;
    UnpackBudget& budget;
    bool pays;
    std::set<InodeId> seen;
    /// Whether the bytes of a layer count: once, and not when they did on their way here.
    bool counts(const std::string& name, bool follow = false)
    {
        const auto inode = files.find(name, follow);
        return pays && inode && seen.insert(*inode).second;
    }
};

Result<Descriptor> find_manifest(const Files& files, const ImageChoice& wanted)
{
    const auto choose_in = [&](Result<std::string> text, bool outermost) -> Result<Descriptor> {
        return choose(TRY(parse_index(TRY(std::move(text)))), wanted, outermost);
    };
    auto found = TRY_DOING("index.json", choose_in(files.read("index.json"), true));
    for (int depth = 0; found.kind == Descriptor::Kind::Index; ++depth) {
        if (depth == kIndexDepth) return fail(ErrorKind::Invalid, "indexes within indexes");
        found = TRY_DOING(Files::blob_name(found), choose_in(files.read_blob(found), false));
    }
    return found;
}

Result<ImageConfig> check_config(std::string_view text, const ImageChoice& wanted, std::size_t layers)
{
    auto config = TRY_DOING("the image's configuration", parse_image_config(text));
    if ((!config.os.empty() && config.os != "linux") ||
        (!config.architecture.empty() && config.architecture != wanted.architecture))
        return fail(ErrorKind::NotFound,
                    cat("the image is for ", printable(config.os), '/', printable(config.architecture),
                        " and not for linux/", wanted.architecture));
    if (config.diff_ids.size() != layers)
        return fail(ErrorKind::Corrupt,
                    cat("the image has ", layers, " layers and its configuration names ", config.diff_ids.size()));
    return config;
}

Result<Imported> apply_all(const std::vector<LayerSource>& layers, std::string config, const Reader& reader)
{
    TreeBuilder builder{reader.context.limits, TreeBuilder::Form::Layers};
    const auto spool = TRY(Spool::make(reader.context.spool));
    Application application{.contents = *spool, .builder = builder, .budget = reader.budget, .context = reader.context};
    for (const LayerSource& layer : layers) // a sum of hostile numbers is only shown
        application.total += layer.bytes.value_or(0);
    for (const LayerSource& layer : layers)
        TRY(apply_layer(layer, application));
    Imported imported;
    imported.tree = std::move(builder).take_tree();
    imported.config = std::move(config);
    return imported;
}

Result<Imported> read_layout(Reader reader, const ImageChoice& wanted)
{
    const Files& files = reader.files;
    const auto descriptor = TRY(find_manifest(files, wanted));
    const auto manifest_text = TRY(files.read_blob(descriptor));
    const auto manifest = TRY_DOING(Files::blob_name(descriptor), parse_image_manifest(manifest_text));
    auto text = TRY(files.read_blob(manifest.config));
    const auto config = TRY(check_config(text, wanted, manifest.layers.size()));
    std::vector<LayerSource> layers;
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
        const Descriptor& layer = manifest.layers[i];
        LayerSource source;
        source.open = [&files, name = Files::blob_name(layer)] { return files.open(name); };
        source.name = cat("layer ", i + 1, " (sha256:", layer.digest.hex().substr(0, 12), ")");
        source.digest = layer.digest;
        source.bytes = layer.bytes;
        source.diff_id = config.diff_ids[i];
        source.pays = reader.counts(Files::blob_name(layer));
        layers.push_back(std::move(source));
    }
    return apply_all(layers, std::move(text), reader);
}

/// Most programs name a configuration by its digest: "DIGITS.json", "blobs/sha256/DIGITS", "sha256:DIGITS".
std::optional<security::Sha256Digest> digest_in(std::string_view name)
{
    name.remove_prefix(name.rfind('/') + 1); // npos + 1 is 0
    if (name.starts_with("sha256:")) name.remove_prefix(std::string_view{"sha256:"}.size());
    const auto digest = security::Sha256Digest::parse(name.substr(0, name.find('.')));
    return digest ? std::optional{*digest} : std::nullopt;
}

Result<Imported> read_archive(Reader reader, const ImageChoice& wanted)
{
    const Files& files = reader.files;
    const auto images = TRY_DOING("manifest.json", parse_archive_manifest(TRY(files.read("manifest.json"))));
    const ArchiveImage* chosen = nullptr;
    std::string tags;
    for (const ArchiveImage& image : images) {
        for (const auto& tag : image.tags)
            tags += cat(tags.empty() ? "" : ", ", printable(tag));
        if (wanted.reference.empty() ? images.size() == 1 : std::ranges::count(image.tags, wanted.reference) > 0)
            chosen = &image;
    }
    if (chosen == nullptr) return none_of_several("the archive has no such image, or several", tags);
    auto text = TRY(files.read(chosen->config));
    const auto digest = digest_in(chosen->config);
    if (digest && security::sha256(text) != *digest)
        return fail(ErrorKind::Corrupt, cat(printable(chosen->config), " is not what its name says (wrong digest)"));
    const auto config = TRY(check_config(text, wanted, chosen->layers.size()));
    std::vector<LayerSource> layers;
    for (std::size_t i = 0; i < chosen->layers.size(); ++i) {
        LayerSource source;
        source.open = [&files, name = chosen->layers[i]] { return files.open(name, true); };
        source.name = cat("layer ", i + 1, " (", printable(chosen->layers[i]), ")");
        source.diff_id = config.diff_ids[i];
        source.pays = reader.counts(chosen->layers[i], true);
        layers.push_back(std::move(source));
    }
    return apply_all(layers, std::move(text), reader);
}

bool has_file(const Tree& files, std::string_view name)
{
    const auto inode = files.find(Tree::root(), name);
    return inode && files.is_file(*inode);
}
bool is_layout(const Tree& files) { return has_file(files, "oci-layout") && has_file(files, "index.json"); }

} // namespace

std::string machine_architecture()
{
    utsname name{};
    COPPICE_CHECK(::uname(&name) == 0);
    const std::string_view machine = name.machine;
    if (machine == "x86_64") return "amd64";
    if (machine == "aarch64") return "arm64";
    if (machine == "i686") return "386";
    if (machine.starts_with("armv")) return "arm";
    return std::string{machine}; // ppc64le, s390x, riscv64
}

bool is_image(const Tree& files)
{
    return is_layout(files) ||
           (has_file(files, "manifest.json") && !files.find(Tree::root(), "usr") && !files.find(Tree::root(), "etc"));
}

Result<Imported> read_image(const Tree& files, const ImageChoice& choice, const Context& context)
{
    UnpackBudget budget{context.limits};
    return read_nested_image(files, choice, context, budget, true);
}

Result<Imported> read_nested_image(const Tree& files, const ImageChoice& choice, const Context& context,
                                   UnpackBudget& budget, bool pays)
{
    const ImageChoice wanted{.reference = choice.reference,
                             .architecture =
                                 choice.architecture.empty() ? machine_architecture() : choice.architecture};
    const Files by_name{files, context};
    Reader reader{.files = by_name, .context = context, .budget = budget, .pays = pays, .seen = {}};
    if (is_layout(files)) return read_layout(std::move(reader), wanted);
    if (has_file(files, "manifest.json")) return read_archive(std::move(reader), wanted);
    return fail(ErrorKind::Invalid,
                "neither an OCI layout (oci-layout, index.json) nor a docker-archive (manifest.json)");
}

} // namespace coppice::imports
