#include "diff_text.h"

#include <coppice/test/expect.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace coppice::cli {
namespace {

using Kind = FileChange::Kind;

constexpr std::uint32_t kFile = 0100644, kSecret = 0100600, kDirectory = 0040755, kLink = 0120777;
const Paint kPlain{false};

FileChanges example()
{
    return {.changes = {{.kind = Kind::Added, .path = "etc/new", .new_mode = kFile, .new_bytes = 4096},
                        {.kind = Kind::Removed, .path = "etc/old", .old_mode = kFile, .old_bytes = 1024},
                        {.kind = Kind::Content,
                         .path = "etc/passwd",
                         .old_mode = kFile,
                         .new_mode = kFile,
                         .old_bytes = 100,
                         .new_bytes = 120},
                        {.kind = Kind::Content,
                         .path = "etc/same",
                         .old_mode = kFile,
                         .new_mode = kFile,
                         .old_bytes = 7,
                         .new_bytes = 7},
                        {.kind = Kind::Attributes,
                         .path = "etc/shadow",
                         .old_mode = kFile,
                         .new_mode = kSecret,
                         .old_bytes = 9,
                         .new_bytes = 9},
                        {.kind = Kind::Type, .path = "lib", .old_mode = kDirectory, .new_mode = kLink},
                        {.kind = Kind::Added, .path = "srv", .new_mode = kDirectory}},
            .added = 2,
            .removed = 1,
            .changed = 4,
            .old_bytes = 1140,
            .new_bytes = 4232};
}

TEST(DiffTextTest, ListsWhatChanged)
{
    EXPECT_EQ(change_lines(example(), kPlain), "A  etc/new     4 KiB\n"
                                               "D  etc/old     1 KiB\n"
                                               "M  etc/passwd  100 B -> 120 B\n"
                                               "M  etc/same    7 B -> 7 B\n"
                                               "m  etc/shadow  mode 0644 -> 0600\n"
                                               "T  lib         directory -> link\n"
                                               "A  srv         directory\n");
    EXPECT_EQ(diff_summary(example()), "2 added, 1 removed, 4 changed; 1.1 KiB -> 4.1 KiB");
}

TEST(DiffTextTest, StatHasBarsByGrowth)
{
    EXPECT_EQ(stat_lines(example(), 80, kPlain), " etc/new    | +4 KiB ++++++++++++++++++++++++++++++++++++++++\n"
                                                 " etc/old    | -1 KiB ----------\n"
                                                 " etc/passwd | +20 B  +\n"
                                                 " etc/same   | =7 B\n"
                                                 " etc/shadow | attributes\n"
                                                 " lib        | directory -> link\n"
                                                 " srv        | directory\n");
}

TEST(DiffTextTest, StatFitsIntoTheColumns)
{
    auto diff = example();
    diff.changes.front().path = "usr/share/" + std::string(200, 'x') + "/end";
    diff.changes.front().new_bytes = UINT64_MAX;
    for (std::size_t columns = 45; columns < 200; ++columns) {
        const auto text = stat_lines(diff, columns, kPlain);
        const auto line = text.substr(0, text.find('\n'));
        EXPECT_LE(line.size(), columns);
        EXPECT_NE(line.find("..."), std::string::npos);
        EXPECT_NE(line.find("/end |"), std::string::npos);
        EXPECT_TRUE(line.ends_with('+'));
    }
}

TEST(DiffTextTest, ColoursLettersAndBarsAlone)
{
    const FileChanges diff{.changes = {{.kind = Kind::Removed, .path = "a", .old_mode = kFile, .old_bytes = 1}}};
    EXPECT_EQ(change_lines(diff, Paint{true}), "\033[31mD\033[m  a  1 B\n");
    EXPECT_EQ(stat_lines(diff, 40, Paint{true}).find("\033[31m-"), 10U);
}

TEST(DiffTextTest, QuotesNamesAsGit)
{
    EXPECT_EQ(quoted_path("a b/ä"), "a b/ä");
    EXPECT_EQ(quoted_path("a\nb"), "\"a\\nb\"");
    EXPECT_EQ(quoted_path("\x1b[2J\t\"\\\x7f"), R"("\033[2J\t\"\\\177")");
}

TEST(DiffTextTest, PatchesHaveGitsHeaders)
{
    const auto changes = example().changes;
    EXPECT_EQ(patch_header(changes[0]), "diff --git a/etc/new b/etc/new\nnew file mode 100644\n");
    EXPECT_EQ(patch_header(changes[1]), "diff --git a/etc/old b/etc/old\ndeleted file mode 100644\n");
    EXPECT_EQ(patch_header(changes[2]), "diff --git a/etc/passwd b/etc/passwd\n");
    EXPECT_EQ(patch_header(changes[4]), "diff --git a/etc/shadow b/etc/shadow\nold mode 100644\nnew mode 100600\n");
    EXPECT_EQ(patch_header(changes[5]), "# lib: directory -> link\n");
    EXPECT_EQ(patch_header(changes[6]), "# srv added: directory\n");
    EXPECT_EQ(old_label(changes[0]), "/dev/null");
    EXPECT_EQ(new_label(changes[0]), "b/etc/new");
    EXPECT_EQ(old_label(changes[1]), "a/etc/old");
    EXPECT_EQ(new_label(changes[1]), "/dev/null");
    const std::vector<bool> expected{true, true, true, true, false, false, false};
    for (std::size_t i = 0; i < changes.size(); ++i)
        EXPECT_EQ(has_hunks(changes[i]), expected[i]) << i;
    EXPECT_TRUE(is_text(""));
    EXPECT_TRUE(is_text("text\n"));
    EXPECT_FALSE(is_text(std::string_view{"a\0b", 3}));
}

TEST(DiffTextTest, ReadsTheAnswer)
{
    const auto document = nlohmann::json::parse(R"({"changes": [{"kind": "type", "path": "x", "old_mode": 16877,
        "new_mode": 41471, "old_bytes": 0, "new_bytes": 0}], "truncated": true, "added": 1, "removed": 2, "changed": 3,
        "old_bytes": 4, "new_bytes": 5})");
    const auto diff = test::value_of(parse_changes(document));
    ASSERT_EQ(diff.changes.size(), 1U);
    EXPECT_EQ(diff.changes[0].kind, Kind::Type);
    EXPECT_TRUE(diff.truncated);
    EXPECT_EQ(diff.added + 10 * diff.removed + 100 * diff.changed, 321U);
    for (const char* const pointer :
         {"/truncated", "/added", "/changes/0/kind", "/changes/0/path", "/changes/0/old_mode"}) {
        auto wrong = document;
        wrong[nlohmann::json::json_pointer{pointer}] = -1;
        EXPECT_EQ(parse_changes(wrong).error().kind(), ErrorKind::Corrupt) << pointer;
    }
}

} // namespace
} // namespace coppice::cli
