#include "coppice/vdisk/tree_stack.h"

#include "layer_fixture.h"
#include "stack_view.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <set>

namespace coppice::vdisk {
namespace {

using namespace coppice::vdisk::test;
using coppice::test::succeeds;

/// One step of making a layer: what, and where in a small world of names, so that layers meet.
using LayerOp = std::tuple<std::uint8_t, std::uint8_t, std::uint8_t>;
using LayerOps = std::vector<LayerOp>;

const std::vector<Xattr> kOpaque{{.name = std::string{kOpaqueXattr}, .value = "y"}};

TestTree make_layer(const LayerOps& ops)
{
    TestTree t;
    for (const auto& [kind, where, value] : ops) {
        std::string path;
        bool fits = true;
        const int depth = 1 + where % 3;
        for (int level = 0; level < depth && fits; ++level) {
            path +=
                cat(path.empty() ? "" : "/", std::string(1, static_cast<char>('a' + (where >> (2 * level + 2)) % 3)));
            const auto there = t.tree.find_path(path);
            if (level + 1 < depth && !there) t.directory(path);
            fits = level + 1 < depth ? !there || t.tree.is_directory(*there) : !there;
        }
        if (!fits) continue;
        switch (kind % 5) {
        case 0: t.directory(path); break;
        case 1: t.put(path, value_of(t.tree.add_whiteout())); break;
        case 2: value_of(t.tree.set_xattrs(t.directory(path), kOpaque)); break;
        case 3: t.link(path, cat("target", value % 3)); break;
        default: t.file(path, std::string(1 + value % 3, static_cast<char>('0' + value % 5)));
        }
    }
    return t;
}

/// What a path shows: describe's line without the opaque mark.
std::map<std::string, std::string> visible(Tree& tree)
{
    auto lines = describe(tree);
    const std::string mark = cat(" [", kOpaqueXattr, "=", sha256("y"), "]");
    for (auto& [path, line] : lines)
        if (const auto at = line.find(mark); at != std::string::npos) line.erase(at, mark.size());
    return lines;
}

/// The model: a flat map of paths; layers are applied one after another, from the lowest on.
using Model = std::map<std::string, std::string>;

void erase_below(Model& model, const std::string& path)
{
    std::erase_if(model, [&](const auto& entry) { return entry.first == path || entry.first.starts_with(path + "/"); });
}

void apply(Model& model, TestTree& layer)
{
    for (const auto& [path, line] : visible(layer.tree)) { // directories before what is in them
        const InodeId inode = layer.tree.find_path(path.empty() ? "" : path.substr(1)).value();
        if (path.empty()) {
            model[path] = line;
            continue;
        }
        const bool is_directory = layer.tree.is_directory(inode);
        const auto there = model.find(path);
        const bool was_directory = there != model.end() && (std::stoul(there->second) & S_IFMT) == S_IFDIR;
        if (!is_directory || !was_directory || !layer.tree.xattrs(inode).empty()) erase_below(model, path);
        if (!layer.tree.is_whiteout(inode)) model[path] = line;
    }
}

struct Layers {
    explicit Layers(const std::vector<LayerOps>& all)
    {
        for (const LayerOps& ops : all) {
            TestTree layer = make_layer(ops);
            apply(model, layer);
            layer.tree.sort();
            stack.insert(stack.begin(), std::make_shared<const Tree>(std::move(layer.tree)));
        }
    }
    TreeStack stack; ///< the last one made is topmost
    Model model;
};

std::vector<LayerOps> some_layers() // not too many: each counts
{
    return *rc::gen::resize(12, rc::gen::nonEmpty<std::vector<LayerOps>>());
}

TEST(TreeStackTest, MergingShowsWhatTheModelShows)
{
    ASSERT_TRUE(rc::check("merge = model", [] {
        Layers layers{some_layers()};
        auto merged = value_of(merge_trees(layers.stack));
        RC_ASSERT(describe(merged) == layers.model);
    }));
}

/// Of each directory that only one layer of the stack shows: whether it has whiteouts. The kernel lists them.
std::size_t whiteouts_shown(const TreeStack& stack)
{
    std::size_t shown = 0;
    std::vector<Merged> waiting{root_of(stack)};
    while (!waiting.empty()) {
        const Merged next = std::move(waiting.back());
        waiting.pop_back();
        for (auto& [name, entry] : entries_of(next)) {
            if (entry.hidden && next.places.size() == 1) ++shown;
            if (entry.is_directory()) waiting.push_back(std::move(entry));
        }
    }
    return shown;
}

TEST(TreeStackTest, MergingSomeOfTheLayersChangesNothing)
{
    ASSERT_TRUE(rc::check("merge of merges", [] {
        Layers layers{some_layers()};
        const auto first = *rc::gen::inRange<std::size_t>(0, layers.stack.size());
        const auto last = *rc::gen::inRange<std::size_t>(first, layers.stack.size());
        const auto from = layers.stack.begin() + static_cast<std::ptrdiff_t>(first);
        const auto to = layers.stack.begin() + static_cast<std::ptrdiff_t>(last) + 1;
        TreeStack stack{layers.stack.begin(), from};
        const TreeStack below{to, layers.stack.end()};
        stack.push_back(std::make_shared<const Tree>(value_of(merge_trees({from, to}, below))));
        stack.insert(stack.end(), below.begin(), below.end());
        auto merged = value_of(merge_trees(stack));
        RC_ASSERT(describe(merged) == layers.model);
        const TreeStack lower{stack.begin() + static_cast<std::ptrdiff_t>(first), stack.end()};
        if (whiteouts_shown(below) == 0) RC_ASSERT(whiteouts_shown(lower) == 0U);
    }));
}

TEST(TreeStackTest, AWhiteoutIsLeftOnlyWhereItHidesSomething)
{
    // In a directory that is not merged the kernel lists it as a name, and finds no file.
    TestTree top, middle, base;
    for (const char* const name : {"made", "closed", "old"}) {
        top.directory(name);
        top.put(cat(name, "/gone"), value_of(top.tree.add_whiteout()));
        middle.directory(name);
        middle.file(cat(name, "/gone"), "x");
        if (name != std::string_view{"made"}) base.directory(name);
        if (name != std::string_view{"made"}) base.file(cat(name, "/gone"), "y");
    }
    value_of(middle.tree.set_xattrs(middle.tree.find_path("closed").value(), kOpaque));
    base.directory("old/not");
    auto merged = value_of(merge_trees(
        {std::make_shared<const Tree>(std::move(top.tree)), std::make_shared<const Tree>(std::move(middle.tree))},
        {std::make_shared<const Tree>(std::move(base.tree))}));
    EXPECT_FALSE(merged.find_path("made/gone"));
    EXPECT_FALSE(merged.find_path("closed/gone"));
    EXPECT_EQ(merged.xattrs(merged.find_path("closed").value()), kOpaque);
    EXPECT_TRUE(merged.is_whiteout(merged.find_path("old/gone").value()));
    EXPECT_TRUE(merged.xattrs(merged.find_path("old").value()).empty());
}

TEST(TreeStackTest, ADifferenceIsThatOfTheModels)
{
    ASSERT_TRUE(rc::check("diff = model", [] {
        const auto all = some_layers();
        Layers upper{all};
        // The old side ends somewhere in the stack, so that both have layers in common.
        const auto skip = *rc::gen::inRange<std::size_t>(0, all.size());
        Layers lower{{all.begin(), all.end() - static_cast<std::ptrdiff_t>(skip)}};
        const TreeStack old_stack{upper.stack.begin() + static_cast<std::ptrdiff_t>(skip), upper.stack.end()};
        std::map<std::string, Change::Kind> told;
        value_of(diff(old_stack, upper.stack, [&](const Change& change) -> Result<> {
            RC_ASSERT(told.emplace(change.path.empty() ? "" : "/" + change.path, change.kind).second);
            return {};
        }));
        std::set<std::string> paths;
        for (const auto& [path, line] : lower.model)
            paths.insert(path);
        for (const auto& [path, line] : upper.model)
            paths.insert(path);
        for (const std::string& path : paths) {
            const auto before = lower.model.find(path), after = upper.model.find(path);
            const auto found = told.find(path);
            if (before == lower.model.end()) {
                RC_ASSERT(found != told.end() && found->second == Change::Kind::Added);
            } else if (after == upper.model.end()) {
                RC_ASSERT(found != told.end() && found->second == Change::Kind::Removed);
            } else {
                RC_ASSERT((found != told.end()) == (before->second != after->second));
            }
        }
    }));
}

TEST(TreeStackTest, ContentOfCommonLayersIsNotRead)
{
    class Unreadable final : public ContentSource {
    public:
        Result<std::unique_ptr<OpenContent>> open(std::uint64_t, std::uint64_t) const override
        {
            return fail(ErrorKind::Corrupt, "it was read");
        }
    };
    TestTree base, top;
    const auto file = base.add("file", S_IFREG | 0644);
    base.tree.set_content(file, std::make_shared<Unreadable>(), 0, 1000);
    top.file("other", "x");
    const auto below = std::make_shared<const Tree>(std::move(base.tree));
    const auto above = std::make_shared<const Tree>(std::move(top.tree));
    std::vector<std::string> told;
    EXPECT_TRUE(succeeds(diff({below}, {above, below}, [&](const Change& change) -> Result<> {
        told.push_back(change.path);
        return {};
    })));
    EXPECT_EQ(told, std::vector<std::string>{"other"});
}

TEST(TreeStackTest, HardLinksOfALayerStayOneFile)
{
    TestTree base, top;
    const auto file = base.file("a", "x");
    base.put("b", file);
    base.put("c", file);
    top.file("c", "y");
    auto merged = value_of(merge_trees(
        {std::make_shared<const Tree>(std::move(top.tree)), std::make_shared<const Tree>(std::move(base.tree))}));
    EXPECT_EQ(merged.find_path("a"), merged.find_path("b"));
    EXPECT_NE(merged.find_path("a"), merged.find_path("c"));
    EXPECT_EQ(content_of(merged, merged.find_path("c").value()), "y");
}

TEST(TreeStackTest, CountsTheLayersOfTheMostSharedDirectory)
{
    TreeStack stack;
    for (int i = 0; i < 5; ++i) {
        TestTree t;
        t.directory("hot");
        t.file(cat("hot/", i), "x");
        if (i > 2) t.directory("cold");
        stack.push_back(std::make_shared<const Tree>(std::move(t.tree)));
    }
    EXPECT_EQ(most_layers_of_a_directory(stack), 5U);
    EXPECT_EQ(most_layers_of_a_directory({}), 0U);
}

} // namespace
} // namespace coppice::vdisk
