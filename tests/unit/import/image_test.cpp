#include "coppice/import/oci_image.h"

#include "image_maker.h"

#include <gtest/gtest.h>

namespace coppice::imports {
namespace {

using namespace coppice::imports::test;

class ImageTest : public testing::Test, protected ImportFixture {
protected:
    Result<Imported> layout(const ImageMaker& maker, const ImageChoice& choice = {})
    {
        const std::string name = cat("layout", ++count_);
        maker.write_below(directory, name);
        const auto files = TRY(import_directory(directory / name, context));
        return read_image(files.tree, choice, context);
    }
    int count_ = 0;
};

ImageMaker two_layers()
{
    ImageMaker maker;
    maker.layer(TarMaker{}
                    .directory("etc")
                    .file("etc/old", "1")
                    .file("etc/kept", "1")
                    .directory("var/cache")
                    .file("var/cache/a", "1")
                    .file("var/cache/b/c", "1")
                    .directory("gone")
                    .file("gone/x", "1")
                    .link("becomes", "etc"));
    maker.layer(TarMaker{}
                    .file("etc/.wh.old", "")
                    .file("var/cache/new", "2")
                    .file("var/cache/.wh..wh..opq", "")
                    .file(".wh.gone", "")
                    .directory("becomes")
                    .file("becomes/f", "2"),
                false);
    return maker;
}

void expect_two_layers(const Imported& imported)
{
    const auto& tree = imported.tree;
    EXPECT_FALSE(tree.find_path("etc/old"));
    EXPECT_EQ(content_of(tree, "etc/kept"), "1");
    EXPECT_FALSE(tree.find_path("var/cache/a"));
    EXPECT_FALSE(tree.find_path("var/cache/b"));
    EXPECT_EQ(content_of(tree, "var/cache/new"), "2") << "an opaque mark hides lower layers only";
    EXPECT_FALSE(tree.find_path("gone"));
    EXPECT_EQ(content_of(tree, "becomes/f"), "2");
    EXPECT_FALSE(tree.find_path("etc/f"));
    EXPECT_FALSE(tree.find_path("etc/.wh.old"));
    EXPECT_EQ(nlohmann::json::parse(imported.config)["config"]["Cmd"][0], "/bin/sh");
}

TEST_F(ImageTest, LayersAreApplied)
{
    expect_two_layers(value_of(layout(two_layers().layout())));
    expect_two_layers(value_of(tar(two_layers().layout().layout_archive())));
    expect_two_layers(value_of(tar(gzip(two_layers().layout().layout_archive()))));
    expect_two_layers(value_of(tar(two_layers().docker_archive())));
}

TEST_F(ImageTest, AWhiteoutAfterItsSuccessorSparesIt)
{
    ImageMaker maker;
    maker.layer(TarMaker{}.directory("d").file("d/lower", "1"));
    maker.layer(TarMaker{}.directory("d").file("d/upper", "2").file(".wh.d", ""));
    const auto imported = value_of(layout(maker.layout()));
    EXPECT_EQ(content_of(imported.tree, "d/upper"), "2");
    EXPECT_FALSE(imported.tree.find_path("d/lower"));
}

TEST_F(ImageTest, AWhiteoutSparesWhatItsLayerPutsBelow)
{
    for (const auto* const mark : {"d/.wh..wh..opq", ".wh.d"})
        for (const bool marked_first : {false, true}) {
            SCOPED_TRACE(cat(mark, marked_first ? " first" : " last"));
            TarMaker upper; // without entries for its directories
            if (marked_first) upper.file(mark, "");
            upper.file("d/sub/new", "2");
            if (!marked_first) upper.file(mark, "");
            ImageMaker maker;
            maker.layer(TarMaker{}.directory("d").directory("d/sub").file("d/sub/old", "1").file("d/lower", "1"));
            maker.layer(upper);
            const auto imported = value_of(layout(maker.layout()));
            EXPECT_EQ(content_of(imported.tree, "d/sub/new"), "2");
            EXPECT_FALSE(imported.tree.find_path("d/sub/old"));
            EXPECT_FALSE(imported.tree.find_path("d/lower"));
        }
}

TEST_F(ImageTest, AWhiteoutTakesANameNotAnInode)
{
    ImageMaker maker;
    maker.layer(TarMaker{}.directory("d").file("d/a", "1").hard_link("d/b", "d/a").hard_link("d/c", "d/a"));
    maker.layer(TarMaker{}.hard_link("d/new", "d/a").hard_link("d/c", "d/a").file("d/.wh.b", "").file("d/.wh.c", ""));
    const auto imported = value_of(layout(maker.layout()));
    EXPECT_EQ(content_of(imported.tree, "d/a"), "1");
    EXPECT_EQ(content_of(imported.tree, "d/new"), "1");
    EXPECT_FALSE(imported.tree.find_path("d/b")) << "it is of the lower layer";
    EXPECT_TRUE(imported.tree.find_path("d/c")) << "the upper one has said it again";
    EXPECT_EQ(imported.tree.find_path("d/a"), imported.tree.find_path("d/new"));
}

TEST_F(ImageTest, ASlashInFrontMeansNothingInLayers)
{
    ImageMaker maker;
    maker.layer(TarMaker{}.directory("/").directory("/nix/store").file("/nix/store/a", "1"));
    maker.layer(TarMaker{}.hard_link("/nix/same", "/nix/store/a").file("/nix/store/.wh.a", ""));
    const auto imported = value_of(layout(maker.layout()));
    EXPECT_EQ(content_of(imported.tree, "nix/same"), "1");
    EXPECT_FALSE(imported.tree.find_path("nix/store/a"));
}

TEST_F(ImageTest, ConfigurationsOfArchivesHaveManyNames)
{
    const auto named = [&](const std::string& name) {
        ImageMaker maker;
        maker.layer(TarMaker{}.file("a", "1"));
        const auto manifest = nlohmann::json::array({{{"Config", name}, {"Layers", {"layer.tar"}}}});
        return tar(TarMaker{}
                       .file(name, maker.config().dump())
                       .file("layer.tar", maker.archives[0])
                       .file("manifest.json", manifest.dump())
                       .finish());
    };
    ImageMaker maker;
    maker.layer(TarMaker{}.file("a", "1"));
    const auto digest = ImageMaker::digest(maker.config().dump());
    for (const auto& name : {digest, digest.substr(7) + ".json", std::string{"config.json"}, std::string{"x/config"}})
        EXPECT_EQ(content_of(value_of(named(name)).tree, "a"), "1") << name;
    const auto other = ImageMaker::digest("other");
    for (const auto& name : {other, other.substr(7) + ".json", "blobs/sha256/" + other.substr(7)})
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "wrong digest", named(name))) << name;
}

TEST_F(ImageTest, AllLayersPayTogether)
{
    ImageMaker maker;
    for (int i = 0; i < 16; ++i)
        maker.layer(TarMaker{}.file("big", std::string(500'000, 'b')));
    maker.layout();
    context.limits.free_bytes = 2'000'000; // enough for each, not for all
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", layout(maker)));
    // A layer that is named again brings nothing with it. (This one is of more than 1 KB, packed.)
    context.limits.ratio = 1000;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", layout(maker)));
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", tar(maker.layout_archive())));
    // And one in a packed archive has paid when that was unpacked.
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", tar(gzip(maker.layout_archive()))));
    context.limits.free_bytes = 20'000'000;
    EXPECT_TRUE(succeeds(layout(maker)));
    EXPECT_TRUE(succeeds(tar(gzip(maker.layout_archive()))));
}

TEST_F(ImageTest, LayersThatAreNotPackedPayOnceToo)
{
    ImageMaker maker;
    for (int i = 0; i < 16; ++i)
        maker.layer(TarMaker{}.file("big", std::string(500'000, 'b')), false);
    maker.layout();
    context.limits.free_bytes = 1'000'000;
    context.limits.ratio = 2;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "bomb", layout(maker)));
    context.limits.ratio = 16;
    EXPECT_TRUE(succeeds(layout(maker)));
}

TEST_F(ImageTest, ThisMachinesPlatformIsTaken)
{
    ImageMaker maker = two_layers();
    auto other = maker.add_manifest();
    other["platform"]["architecture"] = "s390x";
    auto inner = nlohmann::json{{"schemaVersion", 2}, {"manifests", {other, maker.add_manifest()}}}.dump();
    maker.add_index({{{"mediaType", "application/vnd.oci.image.index.v1+json"},
                      {"digest", maker.put(inner)},
                      {"size", inner.size()}}});
    expect_two_layers(value_of(layout(maker)));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "linux/riscv64", layout(maker, {.architecture = "riscv64"})));
}

TEST_F(ImageTest, OneOfSeveralIsNamed)
{
    ImageMaker maker = two_layers();
    auto one = maker.add_manifest();
    maker.layer(TarMaker{}.file("third", "3"));
    auto two = maker.add_manifest();
    one["annotations"]["org.opencontainers.image.ref.name"] = "one";
    two["annotations"]["org.opencontainers.image.ref.name"] = "two";
    maker.add_index({one, two});
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "one, two", layout(maker)));
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "one, two", layout(maker, {.reference = "three"})));
    EXPECT_EQ(content_of(value_of(layout(maker, {.reference = "two"})).tree, "third"), "3");
}

TEST_F(ImageTest, WrongDigestsAreRefused)
{
    const auto good = two_layers().layout();
    for (const auto& [name, content] : good.files) {
        if (!name.starts_with("blobs/")) continue;
        SCOPED_TRACE(name);
        ImageMaker bad = good;
        bad.files[name][content.size() / 2] ^= 1;
        const auto flipped = layout(bad);
        ASSERT_FALSE(flipped);
        EXPECT_EQ(flipped.error().kind(), ErrorKind::Corrupt) << flipped.error().line();
        bad.files[name] = content + "x";
        EXPECT_FALSE(layout(bad)) << "longer";
        bad.files.erase(name);
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "no file " + name, layout(bad)));
    }
}

TEST_F(ImageTest, OtherBytesThatMeanTheSameOrAreAsLongAreRefused)
{
    ImageMaker packed = two_layers().layout();
    packed.files[ImageMaker::name_of(packed.layers[0]["digest"])] = packed.archives[0];
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "not what the manifest names", layout(packed)));
    ImageMaker command = two_layers().layout();
    for (auto& [name, content] : command.files)
        if (const auto at = content.find("/bin/sh"); name.starts_with("blobs/") && at != std::string::npos)
            content.replace(at, 7, "/bin/su");
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "wrong digest", layout(command)));
}

TEST_F(ImageTest, ALayerThatIsNotInTheConfigurationIsRefused)
{
    ImageMaker maker = two_layers();
    std::swap(maker.diff_ids[0], maker.diff_ids[1]);
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "layer 1", layout(maker.layout())));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "layer 1", tar(maker.docker_archive())));
    ImageMaker fewer = two_layers();
    fewer.diff_ids.pop_back();
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "2 layers", layout(fewer.layout())));
}

TEST_F(ImageTest, HostileLayersAreRefused)
{
    const auto refused = [&](const TarMaker& tar, ErrorKind kind, std::string_view part) {
        ImageMaker maker;
        maker.layer(TarMaker{}.directory("etc").link("out", "/")).layer(tar).layout();
        EXPECT_TRUE(fails_as(kind, part, layout(maker)));
    };
    using enum ErrorKind;
    refused(TarMaker{}.file("out/etc/x", ""), Invalid, "layer 2");
    refused(TarMaker{}.file("out/.wh.etc", ""), Invalid, "symbolic link");
    refused(TarMaker{}.file("etc/.wh...", ""), Invalid, "whiteout of nothing");
    refused(TarMaker{}.file("etc/.wh.", ""), Invalid, "whiteout of nothing");
    refused(TarMaker{}.file("etc/.wh..wh.plnk", ""), Unsupported, "AUFS");
    refused(TarMaker{}.file(".wh.a/b", ""), Invalid, "whiteout");
    refused(TarMaker{}.directory("etc/.wh.d"), Invalid, ".wh.");
    refused(TarMaker{}.add({.path = "w", .type = '3'}), Invalid, "entry w");
    refused(TarMaker{}.file("../x", ""), Invalid, "(..)");
}

TEST_F(ImageTest, LayersAndIndexesHaveLimits)
{
    context.limits.layers = 1;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "1 layers", layout(two_layers().layout())));
    context.limits.layers = 2;
    EXPECT_TRUE(succeeds(layout(two_layers().layout())));
    ImageMaker maker = two_layers();
    auto inner = maker.add_manifest();
    for (int depth = 0; depth < 5; ++depth) {
        maker.add_index(nlohmann::json::array({inner}));
        const auto read = layout(maker);
        EXPECT_EQ(read.has_value(), depth < 5) << depth;
        const auto text = nlohmann::json{{"schemaVersion", 2}, {"manifests", {inner}}}.dump();
        inner = {{"mediaType", "application/vnd.oci.image.index.v1+json"},
                 {"digest", maker.put(text)},
                 {"size", text.size()}};
    }
    maker.add_index(nlohmann::json::array({inner}));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "indexes within indexes", layout(maker)));
}

TEST_F(ImageTest, BadDocumentsAreRefused)
{
    const auto refused = [&](const std::string& index, ErrorKind kind, std::string_view part) {
        auto maker = two_layers().layout();
        maker.files["index.json"] = index;
        EXPECT_TRUE(fails_as(kind, part, layout(maker)));
    };
    using enum ErrorKind;
    refused("{", Invalid, "index.json");
    refused(R"({"schemaVersion":1})", Unsupported, "schema version 1");
    refused(R"({"schemaVersion":2,"manifests":[{"digest":"sha256:../../etc/passwd","size":1}]})", Invalid,
            "manifests[0].digest");
    refused(R"({"schemaVersion":2,"manifests":[{"digest":"sha512:00","size":1}]})", Unsupported, "sha512");
    refused(R"({"schemaVersion":2,"manifests":[]})", NotFound, "linux");
    context.limits.document_bytes = 100;
    refused(std::string(101, ' '), Invalid, "100 bytes");
}

} // namespace
} // namespace coppice::imports
