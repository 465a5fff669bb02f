#include "coppice/import/import_image.h"

#include "../vdisk/layer_fixture.h"
#include "coppice/store/seal.h"
#include "coppice/vdisk/layer_reader.h"
#include "image_maker.h"

#include <gtest/gtest.h>

namespace coppice::imports {
namespace {

using namespace coppice::imports::test;

class ImportTest : public testing::Test, protected ImportFixture {
protected:
    Result<ImportedVersion> import_archive(const std::string& bytes, const std::string& key = "key",
                                           const std::string& vdisk = "debian")
    {
        directory.write("archive.tar", bytes);
        return import_image(*store_, {.kind = Source::Kind::Archive, .location = directory / "archive.tar"}, {},
                            {.vdisk = vdisk, .key = key, .author = "tester"}, context);
    }
    std::size_t count_vdisks()
    {
        return value_of(store_->read([](const store::View& view) { return store::all_vdisks(view); })).size();
    }
    bool tmp_is_empty() { return value_of(os::list_directory(store_->directory(), "tmp")).empty(); }

    std::unique_ptr<store::Store> store_ = value_of(store::Store::open(directory / "store"));
};

TEST_F(ImportTest, AnImageBecomesASealedVersion)
{
    ImageMaker maker;
    maker.layer(TarMaker{}.file("etc/motd", std::string(100'000, 'm')));
    const auto version = value_of(import_archive(maker.layout().layout_archive()));
    EXPECT_EQ(version.number, 1U);
    EXPECT_EQ(version.size.file_bytes, 100'000U);
    const auto snapshot =
        value_of(store_->read([&](const store::View& view) { return store::get_snapshot(view, version.snapshot); }));
    EXPECT_EQ(snapshot.state, store::SnapshotState::Sealed);
    const auto config =
        value_of(store_->read([&](const store::View& view) { return store::config_of(view, version.snapshot); }));
    EXPECT_EQ(nlohmann::json::parse(config)["config"]["Env"][0], "A=b");
    const std::array trusted{store_->node_key().public_key()};
    value_of(
        store_->read([&](const store::View& view) { return store::verify_chain(view, version.snapshot, trusted); }));
    const auto layer =
        value_of(store_->read([&](const store::View& view) { return store::get_layer(view, *snapshot.layer); }));
    auto reader = value_of(vdisk::LayerReader::open(value_of(store::open_metadata(*store_, layer))));
    EXPECT_TRUE(succeeds(reader.check()));
    EXPECT_TRUE(value_of(reader.find("etc/motd")).has_value());
    EXPECT_TRUE(tmp_is_empty());
}

TEST_F(ImportTest, StatesAndNames)
{
    const auto bytes = TarMaker{}.file("a", "b").finish();
    const auto state_of = [&](const ImportedVersion& made) {
        return value_of(store_->read(
                            [&](const store::View& view) { return store::get_version(view, made.vdisk, made.number); }))
            .state;
    };
    const auto first = value_of(import_archive(bytes, "1"));
    EXPECT_EQ(state_of(first), store::VersionState::Production);
    EXPECT_EQ(state_of(value_of(import_archive(bytes, "2"))), store::VersionState::Maintenance);
    const Source source{.kind = Source::Kind::Archive, .location = directory / "archive.tar"};
    const auto wanted = store::VersionState::Test;
    EXPECT_EQ(state_of(value_of(import_image(
                  *store_, source, {}, {.vdisk = "debian", .key = "3", .author = "t", .state = wanted}, context))),
              wanted);
    value_of(store_->write([&](store::Txn& txn) { return store::add_working(txn, "web", first.snapshot); }));
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "web is the name of a branch", import_archive(bytes, "4", "web")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", import_archive(bytes, "5", "a/b")));
    EXPECT_EQ(count_vdisks(), 1U);
}

TEST_F(ImportTest, TheProgressHasAnEnd)
{
    ImageMaker maker;
    maker.layer(TarMaker{}.file("a", std::string(300'000, 'a')).file("b", "b"));
    maker.layer(TarMaker{}.file("a", std::string(200'000, 'c')));
    std::map<std::string, Progress> last;
    context.progress = [&](const Progress& progress) { last[std::string{progress.stage}] = progress; };
    value_of(import_archive(maker.layout().layout_archive()));
    for (const auto* const stage : {"reading the archive", "reading layers", "storing"}) {
        SCOPED_TRACE(stage);
        EXPECT_GT(last[stage].total_bytes, 0U);
        EXPECT_LE(last[stage].bytes, last[stage].total_bytes);
        EXPECT_GT(last[stage].bytes * 2, last[stage].total_bytes);
    }
    EXPECT_EQ(last["storing"].total_bytes, 200'704U + 4096);
    EXPECT_EQ(last["storing"].bytes, last["storing"].total_bytes);
}

TEST_F(ImportTest, ARepeatedRequestTakesEffectOnce)
{
    const auto bytes = TarMaker{}.file("a", "b").finish();
    const auto first = value_of(import_archive(bytes));
    const auto again = value_of(import_archive(bytes));
    EXPECT_EQ(first.snapshot, again.snapshot);
    EXPECT_EQ(value_of(import_archive(bytes, "other key")).number, 2U);
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "key", import_archive(bytes, "key", "ubuntu")));
    EXPECT_EQ(count_vdisks(), 1U);
    EXPECT_TRUE(tmp_is_empty());
}

TEST_F(ImportTest, NothingIsHalfImported)
{
    ImageMaker maker;
    maker.layer(TarMaker{}.file("good", std::string(300'000, 'g')));
    maker.layer(TarMaker{}.file("../evil", "e"));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "layer 2", import_archive(maker.layout().layout_archive())));
    EXPECT_EQ(count_vdisks(), 0U);
    EXPECT_TRUE(tmp_is_empty());
    EXPECT_TRUE(value_of(os::list_directory(store_->directory(), "layers")).empty());
    EXPECT_TRUE(succeeds(import_archive(TarMaker{}.file("a", "b").finish()))) << "the key is free again";
}

TEST_F(ImportTest, AStoppedImportIsGoneOnWith)
{
    TarMaker tar; // more than the store commits at once
    for (std::uint64_t i = 0; i < 48; ++i)
        tar.file(cat("f", i), vdisk::test::noise(1'000'000, i + 1));
    std::stop_source stop;
    context.stop = stop.get_token();
    std::uint64_t stored = 0;
    context.progress = [&](const Progress& progress) {
        if (progress.stage == "storing") stored = progress.bytes;
        if (progress.stage == "storing" && progress.bytes > 40'000'000) stop.request_stop();
    };
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped", import_archive(tar.finish())));
    EXPECT_LT(stored, 47'000'000U) << "it went on for a while";
    EXPECT_EQ(count_vdisks(), 0U);
    EXPECT_TRUE(tmp_is_empty());
    context.stop = {};
    const auto made = value_of(import_archive(tar.finish()));
    EXPECT_LT(made.ingest.new_chunks * 10, made.ingest.chunks * 8) << "what was stored before the stop was kept";
}

TEST_F(ImportTest, SourcesAreRecognised)
{
    const auto kind = [&](const std::string& text) { return value_of(parse_source(text)).kind; };
    using enum Source::Kind;
    directory.make_directory("tree");
    ImageMaker{}.layer(TarMaker{}.file("a", "")).layout().write_below(directory, "layout");
    directory.write("a.tar", TarMaker{}.file("a", "").finish());
    directory.write("a.gz", gzip("x"));
    directory.write("disk", std::string(1024, 'd'));
    EXPECT_EQ(kind(directory / "tree"), Directory);
    EXPECT_EQ(kind(directory / "layout"), Layout);
    EXPECT_EQ(kind(directory / "a.tar"), Archive);
    EXPECT_EQ(kind(directory / "a.gz"), Archive);
    EXPECT_EQ(kind(directory / "disk"), Disk);
    EXPECT_EQ(kind("docker://debian:12"), Registry);
    EXPECT_EQ(kind("debian:bookworm"), Suite);
    EXPECT_EQ(kind("ssh://root@host"), Machine);
    const auto named = value_of(parse_source("docker-archive:" + (directory / "a.tar") + ":debian:12"));
    EXPECT_EQ(named.location, directory / "a.tar");
    EXPECT_EQ(named.reference, "debian:12");
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "docker://nginx", parse_source("nginx")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "machine:", parse_source("ssh://"))) << "nobody meant this machine";
}

TEST_F(ImportTest, DirectoriesHaveLimitsToo)
{
    for (int i = 0; i < 8; ++i)
        directory.write(cat("tree/d/e/f", i), std::string(100, 'f'));
    const auto list = [&] { return import_directory(directory / "tree", context); };
    const auto limited = [&](auto& limit, std::size_t most, std::string_view words) {
        const auto before = std::exchange(limit, most);
        EXPECT_TRUE(fails_as(ErrorKind::Unavailable, words, list()));
        limit = most + 1;
        EXPECT_TRUE(succeeds(list()));
        limit = before;
    };
    limited(context.limits.entries, 9, "9 entries");
    limited(context.limits.depth, 2, "2 directories");
    limited(context.limits.logical_bytes, 799, "of files");
    limited(context.limits.path_bytes, 5, "5 bytes of a name");
    context.limits.text_bytes = 5;
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "of names", list()));
    context.limits.text_bytes = 1 << 20;
    std::stop_source stop;
    context.stop = stop.get_token();
    std::uint64_t seen = 0;
    context.progress = [&](const Progress& progress) {
        seen = progress.bytes;
        if (seen >= 300) stop.request_stop();
    };
    EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped", list()));
    EXPECT_EQ(seen, 300U);
}

TEST_F(ImportTest, WhatIsNoFileIsRefusedAtOnce)
{
    ASSERT_EQ(::mkfifo((directory / "fifo").c_str(), 0600), 0);
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "no file",
                         read_source(value_of(parse_source("tar:" + (directory / "fifo"))), {}, context)));
}

} // namespace
} // namespace coppice::imports
