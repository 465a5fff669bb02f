#include "coppice/export/export_snapshot.h"

#include "coppice/store/vdisk.h"
#include "coppice/test/child.h"
#include "support.h"

#include <cstddef>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <nlohmann/json.hpp>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <thread>

namespace coppice::exports {
namespace {

using namespace coppice::exports::test;
using nlohmann::json;

class ExportTest : public testing::Test, protected ExportFixture {
protected:
    static TestTree small_tree()
    {
        TestTree t;
        t.directory("etc");
        t.file("etc/motd", "hello\n");
        t.file("etc/big", vdisk::test::noise(700'000, 3));
        t.link("etc/link", "motd");
        value_of(t.tree.link(*t.tree.find_path("etc"), "same", *t.tree.find_path("etc/motd")));
        return t;
    }
    json read_json(const std::string& name) { return json::parse(coppice::test::read_text(directory / name)); }
};

TEST_F(ExportTest, WhatIsExportedIsImportedAsTheSameLayer)
{
    const auto id = add(small_tree().tree);
    const auto tar = value_of(write(id, Format::Tar, "out.tar"));
    EXPECT_EQ(security::sha256(coppice::test::read_text(directory / "out.tar")), tar.digest);
    EXPECT_EQ(coppice::test::read_text(directory / "out.tar").size(), tar.bytes);
    EXPECT_EQ(layer_of(import(directory / "out.tar")), layer_of(id));
    value_of(write(id, Format::Oci, "layout"));
    EXPECT_EQ(layer_of(import(directory / "layout")), layer_of(id));
}

TEST_F(ExportTest, TheImageSaysWhatTheSnapshotIs)
{
    const json config{{"os", "linux"},
                      {"architecture", "arm64"},
                      {"config", {{"Cmd", {"/bin/sh"}}, {"Env", {"A=b"}}, {"User", "7"}, {"Labels", {{"l", "m"}}}}},
                      {"rootfs", {{"type", "layers"}, {"diff_ids", {"sha256:" + std::string(64, '0')}}}},
                      {"history", {{{"created_by", "somebody"}}, {{"created_by", "else"}}}}};
    const auto id = add(small_tree().tree, config.dump());
    const auto exported = value_of(write(id, Format::Oci, "layout", "example.org/web:1.0"));
    const auto descriptor = read_json("layout/index.json")["manifests"][0];
    EXPECT_EQ(descriptor["digest"], "sha256:" + exported.digest.hex());
    EXPECT_EQ(descriptor["annotations"]["org.opencontainers.image.ref.name"], "example.org/web:1.0");
    EXPECT_EQ(descriptor["platform"]["architecture"], "arm64");
    const auto blob = [](const json& of) { return "layout/blobs/sha256/" + of["digest"].get<std::string>().substr(7); };
    const auto manifest = read_json(blob(descriptor));
    ASSERT_EQ(manifest["layers"].size(), 1U);
    const auto written = read_json(blob(manifest["config"]));
    EXPECT_EQ(written["config"], config["config"]);
    ASSERT_EQ(written["rootfs"]["diff_ids"].size(), 1U);
    EXPECT_NE(written["rootfs"]["diff_ids"][0], config["rootfs"]["diff_ids"][0]);
    EXPECT_EQ(written["history"].size(), 1U) << "as many as there are layers";
    const auto again = value_of(write(id, Format::Oci, "again", "example.org/web:1.0"));
    EXPECT_EQ(again.digest, exported.digest);
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "no image reference", write(id, Format::Oci, "bad", "a b")));
    EXPECT_FALSE(os::exists(directory.fd(), "bad"));
}

TEST_F(ExportTest, WhatIsThereStays)
{
    const auto id = add(small_tree().tree);
    directory.write("taken", "mine");
    for (const auto format : {Format::Oci, Format::Tar, Format::Flat})
        EXPECT_TRUE(fails_as(ErrorKind::Conflict, "is there already", write(id, format, "taken")));
    EXPECT_EQ(coppice::test::read_text(directory / "taken"), "mine");
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "none", write(id, Format::Tar, "none/out.tar")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "no place", write(id, Format::Tar, "..")));
    // Something comes to the place while it is written.
    context.progress = [&](const imports::Progress& progress) {
        if (progress.bytes > 0 && !os::exists(directory.fd(), "late")) directory.write("late", "theirs");
    };
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "is there already", write(id, Format::Tar, "late")));
    EXPECT_EQ(coppice::test::read_text(directory / "late"), "theirs");
    EXPECT_EQ(names(), 3U) << "the store and the two files";
}

TEST_F(ExportTest, NobodyElseReadsIt)
{
    const auto id = add(small_tree().tree);
    for (const auto format : {Format::Oci, Format::Tar, Format::Flat}) {
        value_of(write(id, format, "out"));
        const auto status = value_of(os::find_status(directory.fd(), "out"));
        EXPECT_EQ(status->st_mode & 07777U, S_ISDIR(status->st_mode) ? 0700U : 0600U);
        value_of(os::remove_tree(directory.fd(), "out"));
    }
}

/// From now on the file system knows no RENAME_NOREPLACE.
void forget_noreplace()
{
    sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[4])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = std::size(steps), .filter = steps};
    ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST_F(ExportTest, FileSystemsWithoutNoReplaceTakeItToo)
{
    const auto id = add(small_tree().tree);
    for (const auto format : {Format::Oci, Format::Tar}) {
        // A thread of its own: it keeps the filter.
        std::jthread{[&] {
            forget_noreplace();
            const std::string name = format == Format::Oci ? "layout" : "file";
            EXPECT_TRUE(succeeds(write(id, format, name)));
            EXPECT_TRUE(os::exists(directory.fd(), name));
            context.progress = [&](const imports::Progress& progress) {
                if (progress.bytes > 0 && !os::exists(directory.fd(), "late")) directory.write("late", "theirs");
            };
            EXPECT_TRUE(fails_as(ErrorKind::Conflict, "is there already", write(id, format, "late")));
            context.progress = [](const imports::Progress&) {};
            EXPECT_EQ(coppice::test::read_text(directory / "late"), "theirs");
            value_of(os::remove_file(directory.fd(), "late"));
        }}.join();
    }
    EXPECT_EQ(names(), 3U) << "the store and two exports";
}

TEST_F(ExportTest, AStoppedExportLeavesNothing)
{
    const auto id = add(small_tree().tree);
    for (const auto format : {Format::Oci, Format::Tar, Format::Flat}) {
        std::stop_source stop;
        context.stop = stop.get_token();
        context.progress = [&](const imports::Progress& progress) {
            if (progress.bytes > 0) stop.request_stop();
        };
        EXPECT_TRUE(fails_as(ErrorKind::Unavailable, "stopped", write(id, format, "out")));
        EXPECT_EQ(names(), 1U) << "the store";
    }
}

TEST_F(ExportTest, AFullDiskLeavesNothing)
{
    const auto id = add(small_tree().tree);
    for (const auto format : {Format::Oci, Format::Tar, Format::Flat}) {
        // No file may become longer: what write(2) says is not what a full disk says, and as final.
        rlimit old{};
        ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
        const auto ignored = ::signal(SIGXFSZ, SIG_IGN);
        const rlimit small{.rlim_cur = 300'000, .rlim_max = old.rlim_max};
        ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
        const auto done = write(id, format, "out");
        ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
        ::signal(SIGXFSZ, ignored);
        EXPECT_FALSE(done);
        EXPECT_EQ(names(), 1U) << "the store";
    }
}

TEST_F(ExportTest, AFlatImageHoldsTheLayer)
{
    const auto id = add(small_tree().tree);
    const auto exported = value_of(write(id, Format::Flat, "flat"));
    const auto layer = value_of(store->read(
        [&](const store::View& view) { return store::get_layer(view, *store::get_snapshot(view, id)->layer); }));
    EXPECT_EQ(exported.bytes, layer.metadata_bytes + layer.blob_bytes);
    EXPECT_EQ(security::sha256(coppice::test::read_text(directory / "flat")), exported.digest);
}

TEST_F(ExportTest, SeveralLayersAreMerged)
{
    const auto base = add(small_tree().tree);
    TestTree upper;
    upper.directory("etc");
    upper.file("etc/motd", "other\n");
    upper.put("etc/big", value_of(upper.tree.add_whiteout()));
    upper.file("etc/new", vdisk::test::noise(300'000, 5));
    const auto id = add_over(base, upper.tree);
    auto wanted = value_of(vdisk::merge_trees(value_of(trees.stack_of(id))));
    for (const auto format : {Format::Tar, Format::Oci}) {
        const auto name = format == Format::Tar ? "out.tar" : "layout";
        value_of(write(id, format, name));
        const auto again = import(directory / name);
        auto tree = value_of(vdisk::merge_trees(value_of(trees.stack_of(again))));
        EXPECT_EQ(describe(tree), describe(wanted));
        EXPECT_FALSE(tree.find_path("etc/big"));
    }
    // The same as of a snapshot that has everything in one layer.
    const auto merged = import(directory / "out.tar");
    EXPECT_EQ(value_of(write(id, Format::Flat, "flat")).digest, value_of(write(merged, Format::Flat, "flat2")).digest);
}

TEST_F(ExportTest, DamagedContentIsNotExported)
{
    const auto id = add(small_tree().tree);
    for (const auto& name : value_of(os::list_directory(store->directory(), "packs"))) {
        const auto pack = value_of(os::open_at(store->directory(), "packs/" + name, O_RDWR));
        struct stat status{};
        ASSERT_EQ(::fstat(pack.get(), &status), 0);
        if (status.st_size > 200'000) {
            ASSERT_EQ(::pwrite(pack.get(), "damage", 6, 150'000), 6);
        }
    }
    for (const auto format : {Format::Oci, Format::Tar, Format::Flat})
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "", write(id, format, "out")));
    EXPECT_EQ(names(), 1U) << "the store";
}

} // namespace
} // namespace coppice::exports
