#pragma once

#include "coppice/os/file.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "coppice/vdisk/read_tree.h"
#include "node.h"
#include "working_files.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <functional>
#include <map>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

/// What the programs of snapshots share. Needs: root, overlayfs, EROFS from files (Linux 6.12) or loop devices.
namespace coppice::vdisk::test {

namespace fs = std::filesystem;
using coppice::test::fails_as;
using coppice::test::read_text;
using coppice::test::succeeds;
using coppice::test::TempDir;
using coppice::test::write_text;
using store::SnapshotId;

inline std::string wanted_step; // the child ends there

inline void die_at_step(std::string_view step)
{
    if (step == wanted_step) ::raise(SIGKILL);
}

class SnapshotTest : public testing::Test {
protected:
    void SetUp() override
    {
        COPPICE_NEEDS(Root, Overlayfs, Erofs);
        directory_.make_directory("m");
        start();
        base_ = import_base();
    }
    void start(LayerPath best = LayerPath::Files)
    {
        node_.reset();
        node_ = std::make_unique<Node>(directory_ / "store", best);
    }

    SnapshotId import_base()
    {
        TestTree t;
        t.directory("etc");
        t.file("etc/motd", "original");
        t.file("etc/doomed", "x");
        t.directory("dir");
        t.file("dir/one", noise(300'000, 1));
        t.file("dir/two", "2");
        t.link("link", "etc/motd");
        return add_vdisk_of(*node_, t.tree);
    }

    /// Does something in the working layer, which is mounted at m/ meanwhile.
    void in_layer(const std::string& name, const std::function<void(const std::string& root)>& body) const
    {
        value_of(node_->mounts->attach_working(name, directory_ / "m"));
        body(directory_ / "m");
        value_of(node_->mounts->detach(directory_ / "m"));
    }
    SnapshotId freeze(const std::string& name) const
    {
        return value_of(node_->working.freeze(name, {.author = "tester", .message = "m", .config = {}})).id;
    }
    /// What the kernel shows of a snapshot.
    std::map<std::string, std::string> mounted(const SnapshotId& id) const
    {
        const auto stacked = value_of(node_->mounts->open(id, "test"));
        auto tree = value_of(read_tree(stacked.mount));
        auto lines = describe(tree);
        value_of(node_->mounts->release("test"));
        return lines;
    }
    /// What our own reading of the layers says.
    std::map<std::string, std::string> merged(const SnapshotId& id) const
    {
        auto tree = value_of(merge_trees(value_of(node_->trees.stack_of(id))));
        return describe(tree);
    }
    std::string text_in(const SnapshotId& id, const std::string& path) const { return text_of(*node_, id, path); }
    store::SnapshotState state_of(const SnapshotId& id) const
    {
        return value_of(node_->store->read([&](const store::View& view) { return store::get_snapshot(view, id); }))
            .state;
    }
    std::size_t snapshots() const
    {
        return value_of(node_->store->read([&](const store::View& view) { return store::descendants(view, base_); }))
            .size();
    }
    SnapshotId below(const std::string& name) const
    {
        return value_of(node_->store->read([&](const store::View& view) { return store::get_working(view, name); }))
            .snapshot;
    }

    /// A process of its own does `body` and is killed at `step`; then the next one starts.
    void killed_at(const std::string& step, const std::function<void(Node&)>& body)
    {
        node_.reset();
        const pid_t child = ::fork();
        if (child == 0) {
            try {
                Node node{directory_ / "store"};
                wanted_step = step;
                on_step = &die_at_step;
                body(node);
            } catch (const std::exception& error) {
                std::fprintf(stderr, "%s\n", error.what());
                ::_exit(2);
            }
            ::_exit(1);
        }
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        ASSERT_TRUE(WIFSIGNALED(status)) << step << " was not reached: " << status;
        start();
    }

    /// What a power cut may do: the database knows all that `body` did, the directories none of it.
    void with_directories_taken_back(const std::function<void()>& body)
    {
        const auto copy = [&](const std::string& from, const std::string& to) {
            for (const char* const name : {"working", "frozen"}) {
                fs::remove_all(directory_ / cat(to, "/", name));
                const std::string command =
                    cat("mkdir -p ", directory_ / to, " && cp -a ", directory_ / from, "/", name, " ", directory_ / to);
                ASSERT_EQ(std::system(command.c_str()), 0);
            }
        };
        copy("store", "before");
        body();
        node_.reset();
        copy("before", "store");
        start();
        EXPECT_TRUE(node_->unknown.empty());
        EXPECT_TRUE(node_->recovered.unknown.empty());
    }

    TempDir directory_;
    std::unique_ptr<Node> node_;
    SnapshotId base_;
};

inline void change_all_sorts(const std::string& root)
{
    write_text(root + "/etc/motd", "changed");
    write_text(root + "/etc/new", noise(5000, 7));
    fs::remove(root + "/etc/doomed");
    fs::remove_all(root + "/dir");
    fs::create_directory(root + "/dir"); // opaque
    write_text(root + "/dir/three", "3");
    fs::rename(root + "/link", root + "/renamed");
    ASSERT_EQ(::setxattr((root + "/etc/new").c_str(), "user.test", "v", 1, 0), 0);
    fs::create_hard_link(root + "/etc/new", root + "/etc/same");
    ASSERT_EQ(::mkfifo((root + "/fifo").c_str(), 0600), 0);
}

} // namespace coppice::vdisk::test
