#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/base/units.h"
#include "coppice/import/remote.h"
#include "coppice/os/file.h"
#include "image_choice.h"
#include "program_output.h"

#include <array>

namespace coppice::imports {

namespace {

struct Meaning {
    std::string_view words;
    ErrorKind kind;
    std::string_view message, hint;
};
constexpr std::array<Meaning, 14> kMeanings{{
    {"manifest unknown", ErrorKind::NotFound, "the registry has no such image", "check name and tag"},
    {"name unknown", ErrorKind::NotFound, "the registry has no such image", "check name and tag"},
    {"unauthorized", ErrorKind::Denied, "the registry wants other credentials",
     "log in with 'skopeo login', or name the file with --authfile"},
    {"authentication required", ErrorKind::Denied, "the registry wants credentials",
     "log in with 'skopeo login', or name the file with --authfile"},
    {"denied", ErrorKind::Denied, "the registry denies access, or has no such image",
     "log in with 'skopeo login', or name the file with --authfile"},
    {"server gave HTTP response to HTTPS", ErrorKind::Unavailable, "the registry has no TLS", "--plain-http"},
    {"x509", ErrorKind::Unavailable, "the registry's certificate is not trusted",
     "install its authority's certificate"},
    {"Digest did not match", ErrorKind::Corrupt, "what the registry sends is not what the manifest says",
     "try again; if that does not help, push the image again"},
    {"no such host", ErrorKind::Unavailable, "the registry's name does not resolve", "check the name and DNS"},
    {"connection refused", ErrorKind::Unavailable, "the registry does not answer", "check name and port"},
    {"timeout", ErrorKind::Unavailable, "the registry does not answer in time", "check the network"},
    {"no space left", ErrorKind::Unavailable, "the disk is full", "make room in the store's file system"},
    {"policy.json", ErrorKind::NotFound, "skopeo has no signature policy",
     "install golang-github-containers-common, or write /etc/containers/policy.json"},
    {"no image found in", ErrorKind::NotFound, "the image is not there for this architecture", "choose another one"},
}};

Error registry_error(const Program::Ended& ended, const std::string& reference)
{
    for (const Meaning& meaning : kMeanings)
        if (ended.last_words.find(meaning.words) != std::string::npos)
            return Error{meaning.kind, cat(reference, ": ", meaning.message)}.hint(std::string{meaning.hint});
    auto words = std::string_view{ended.last_words};
    if (const auto at = words.find("msg="); at != std::string_view::npos) words.remove_prefix(at + 4);
    return Error{ErrorKind::Os, cat(reference, ": skopeo says ", words)};
}

/// A directory that goes with the object.
class PassingDirectory {
public:
    explicit PassingDirectory(const Context& context)
        : parent_{context.spool}, name_{cat("image-", random_hex(16))}, path_{cat(context.spool_path, "/", name_)}
    {
    }
    PassingDirectory(const PassingDirectory&) = delete;
    PassingDirectory& operator=(const PassingDirectory&) = delete;
    ~PassingDirectory() { (void)os::remove_tree(parent_, name_).has_value(); } // the store empties tmp/ anyway
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    int parent_;
    std::string name_, path_;
};

/// What there is before it is fetched.
struct Offer {
    std::string reference;   ///< by digest: what was measured is what is fetched
    std::uint64_t bytes = 0; ///< of configuration and layers, as they are packed
};

class Registry {
public:
    Registry(const std::string& reference, const RegistryOptions& options, const Context& context)
        : reference_{reference}, options_{options}, context_{context}
    {
        // "HOST:PORT/NAME:TAG", "HOST:PORT/NAME@DIGEST"
        const auto slash = reference.rfind('/') + 1; // npos + 1 is 0
        name_ = reference.substr(0, std::min(reference.find('@'), reference.find(':', slash)));
    }
    Result<Offer> find()
    {
        Offer offer;
        auto text = TRY(inspect(reference_));
        const ImageChoice wanted{.reference = {}, .architecture = options_.architecture};
        for (int depth = 0;; ++depth) {
            const auto all = TRY_DOING(reference_, parse_index(text));
            if (all.empty()) break; // it is no index
            if (depth == kIndexDepth) return fail(ErrorKind::Invalid, "indexes within indexes");
            const auto chosen = TRY_DOING(reference_, choose(all, wanted, false));
            text = TRY(inspect(by_digest(chosen.digest)));
            if (security::sha256(text) != chosen.digest)
                return fail(ErrorKind::Corrupt, cat(reference_, ": a manifest has another digest than its index says"));
        }
        offer.reference = by_digest(security::sha256(text));
        auto manifest = TRY_DOING(reference_, parse_image_manifest(text));
        manifest.layers.push_back(manifest.config);
        for (const Descriptor& part : manifest.layers) {
            if (part.bytes > context_.limits.logical_bytes - offer.bytes)
                return fail(ErrorKind::Unavailable,
                            cat(reference_, ": the image has more than ", format_bytes(context_.limits.logical_bytes)));
            offer.bytes += part.bytes;
        }
        return offer;
    }
    Result<> fetch(const Offer& offer, const std::string& layout)
    {
        auto words = words_for("copy", "--src-tls-verify=false");
        words.insert(words.end(), {"--quiet", "docker://" + offer.reference, cat("oci:", layout, ":image")});
        const std::uint64_t most = offer.bytes + 2 * context_.limits.document_bytes; // index and manifest
        const auto watch = [&]() -> Result<> {
            const auto bytes = TRY(bytes_in(layout));
            context_.progress({.stage = "fetching the image", .bytes = bytes, .total_bytes = offer.bytes});
            if (bytes <= most) return {};
            return fail(
                Error{ErrorKind::Corrupt, cat(reference_, ": the registry sends more than the manifest says")}.hint(
                    "push the image again"));
        };
        const auto running = TRY(Program::start({.arguments = words, .package = "skopeo", .watch = watch}, context_));
        const auto ended = TRY(running->finish());
        if (ended.status.code != 0) return fail(registry_error(ended, reference_));
        return {};
    }

private:
    [[nodiscard]] std::string by_digest(const security::Sha256Digest& digest) const
    {
        return cat(name_, "@sha256:", digest.hex());
    }
    [[nodiscard]] std::vector<std::string> words_for(const char* command, const char* plain) const
    {
        std::vector<std::string> words{"skopeo", "--override-os=linux", "--override-arch=" + options_.architecture,
                                       command};
        if (!options_.authfile.empty()) words.push_back("--authfile=" + options_.authfile);
        if (options_.plain_http) words.emplace_back(plain);
        return words;
    }
    Result<std::string> inspect(const std::string& reference)
    {
        context_.progress({.stage = "looking at the image"});
        auto words = words_for("inspect", "--tls-verify=false");
        words.insert(words.end(), {"--raw", "docker://" + reference});
        auto answer = TRY(answer_of({.arguments = words, .package = "skopeo", .has_output = true}, context_));
        if (answer.ended.status.code != 0) return fail(registry_error(answer.ended, reference_));
        return std::move(answer.text);
    }
    /// Of a layout that is being written, and of what is on its way there.
    static Result<std::uint64_t> bytes_in(const std::string& layout)
    {
        std::uint64_t bytes = 0;
        for (const auto* const directory : {"", "/blobs", "/blobs/sha256"}) {
            const std::string path = layout + directory;
            if (!os::exists(os::kCwd, path)) continue;
            for (const std::string& name : TRY(os::list_directory(os::kCwd, path)))
                if (const auto status = TRY(os::find_status(os::kCwd, cat(path, "/", name), false)))
                    if (S_ISREG(status->st_mode)) bytes += static_cast<std::uint64_t>(status->st_size);
        }
        return bytes;
    }

    std::string reference_, name_;
    RegistryOptions options_;
    const Context& context_;
};

} // namespace

Result<Imported> import_registry(const std::string& reference, const RegistryOptions& options, const Context& context)
{
    TRY(check_word(reference, "._-/:@+[]", "image reference"));
    RegistryOptions wanted = options;
    if (wanted.architecture.empty()) wanted.architecture = machine_architecture();
    const PassingDirectory layout{context};
    Registry registry{reference, wanted, context};
    const auto offer = TRY(registry.find());
    TRY(registry.fetch(offer, layout.path()));
    const auto files = TRY(import_directory(layout.path(), context));
    return with_context(read_image(files.tree, {.reference = "image", .architecture = wanted.architecture}, context),
                        reference);
}

} // namespace coppice::imports
