#pragma once

#include "coppice/security/sha256.h"
#include "support.h"

#include <nlohmann/json.hpp>

namespace coppice::imports::test {

/// Writes OCI layouts and docker-archives.
class ImageMaker {
public:
    /// @param packed by gzip
    ImageMaker& layer(const TarMaker& tar, bool packed = true)
    {
        const auto archive = tar.finish();
        diff_ids.push_back(digest(archive));
        auto blob = packed ? gzip(archive) : archive;
        layers.push_back({{"mediaType", "application/vnd.oci.image.layer.v1.tar+gzip"},
                          {"digest", digest(blob)},
                          {"size", blob.size()}});
        archives.push_back(archive);
        put(std::move(blob));
        return *this;
    }
    static std::string digest(std::string_view bytes) { return "sha256:" + security::sha256(bytes).hex(); }
    static std::string name_of(const std::string& digest) { return "blobs/sha256/" + digest.substr(7); }
    std::string put(std::string blob)
    {
        const auto name = digest(blob);
        files[name_of(name)] = std::move(blob);
        return name;
    }
    [[nodiscard]] nlohmann::json config() const
    {
        return {{"os", "linux"},
                {"architecture", architecture},
                {"config", {{"Cmd", {"/bin/sh"}}, {"Env", {"A=b"}}}},
                {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}};
    }
    /// Configuration, manifest; its descriptor for an index.
    nlohmann::json add_manifest()
    {
        const auto text = config().dump();
        const auto config_digest = put(text);
        const auto manifest = nlohmann::json{
            {"schemaVersion", 2},
            {"config",
             {{"mediaType", "application/vnd.oci.image.config.v1+json"},
              {"digest", config_digest},
              {"size", text.size()}}},
            {"layers", layers}}.dump();
        return {{"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                {"digest", put(manifest)},
                {"size", manifest.size()},
                {"platform", {{"os", "linux"}, {"architecture", architecture}}}};
    }
    void add_index(const nlohmann::json& manifests)
    {
        files["oci-layout"] = R"({"imageLayoutVersion":"1.0.0"})";
        files["index.json"] = nlohmann::json{{"schemaVersion", 2}, {"manifests", manifests}}.dump();
    }
    /// A layout with this one image.
    ImageMaker& layout()
    {
        add_index(nlohmann::json::array({add_manifest()}));
        return *this;
    }
    void write_below(const TempDir& directory, const std::string& name) const
    {
        for (const auto& [path, content] : files)
            directory.write(name + "/" + path, content);
    }
    [[nodiscard]] std::string layout_archive() const
    {
        TarMaker tar;
        for (const auto& [path, content] : files)
            tar.file(path, content);
        return tar.finish();
    }
    /// As `docker save` of old: layers by directories, one of them a link.
    [[nodiscard]] std::string docker_archive() const
    {
        TarMaker tar;
        const auto text = config().dump();
        const std::string name = digest(text).substr(7) + ".json";
        tar.file(name, text);
        nlohmann::json names = nlohmann::json::array();
        for (std::size_t i = 0; i < archives.size(); ++i) {
            tar.file(cat("real", i, "/layer.tar"), archives[i]);
            tar.link(cat("link", i, "/layer.tar"), cat("../real", i, "/layer.tar"));
            names.push_back(cat("link", i, "/layer.tar"));
        }
        const auto manifest = nlohmann::json::array({{{"Config", name}, {"RepoTags", {"test:1"}}, {"Layers", names}}});
        tar.file("manifest.json", manifest.dump());
        return tar.finish();
    }

    std::map<std::string, std::string> files;
    std::vector<std::string> diff_ids, archives;
    nlohmann::json layers = nlohmann::json::array();
    std::string architecture = machine_architecture();
};

} // namespace coppice::imports::test
