#include "log_graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>

namespace coppice::cli {
namespace {

using Kind = GraphParent::Kind;

/// @param tree "child parent" pairs by name, newest first; a name alone has no parent, "name ?" one elsewhere
struct Named {
    std::string name, parent;
};

std::string draw(const std::vector<Named>& tree)
{
    std::map<std::string, std::size_t> places;
    for (std::size_t i = 0; i < tree.size(); ++i)
        places[tree[i].name] = i;
    std::vector<GraphParent> parents;
    for (const Named& one : tree) {
        if (one.parent.empty())
            parents.push_back({});
        else if (one.parent == "?")
            parents.push_back({.kind = Kind::Elsewhere});
        else
            parents.push_back({.kind = Kind::Listed, .index = places.at(one.parent)});
    }
    LogGraph graph;
    std::string text = "\n";
    for (const std::size_t index : drawing_order(parents)) {
        const auto row = graph.add(index, parents[index]);
        EXPECT_EQ(row.node.size(), row.more.size());
        text += row.node + tree[index].name + '\n';
        for (const auto& joint : row.joints)
            text += joint + '\n';
    }
    return text;
}

TEST(LogGraphTest, DrawsNothingOfNothing) { EXPECT_EQ(draw({}), "\n"); }

TEST(LogGraphTest, DrawsALine)
{
    EXPECT_EQ(draw({{"c", "b"}, {"b", "a"}, {"a", ""}}), R"(
* c
* b
* a
)");
}

TEST(LogGraphTest, ABranchJoinsAtItsParent)
{
    EXPECT_EQ(draw({{"d", "c"}, {"x", "b"}, {"c", "b"}, {"b", "a"}, {"a", ""}}), R"(
* d
* c
| * x
|/
* b
* a
)");
}

TEST(LogGraphTest, DrawsThreeBranchesOfOne)
{
    EXPECT_EQ(draw({{"z", "a"}, {"y", "a"}, {"x", "a"}, {"a", ""}}), R"(
* z
| * y
|/
| * x
|/
* a
)");
}

TEST(LogGraphTest, LanesMoveWhenOneEnds)
{
    // The branch of `z` waits for `b` while `y` and `x` join at `a`: the lane between is passed underneath.
    EXPECT_EQ(draw({{"z", "a"}, {"y", "b"}, {"x", "a"}, {"w", "b"}, {"b", "a"}, {"a", ""}}), R"(
* z
| * y
| | * x
| |/
|/|
| | * w
| |/
| * b
|/
* a
)");
}

TEST(LogGraphTest, PassesUnderSeveralLanes)
{
    EXPECT_EQ(draw({{"t1", "a"},
                    {"t2", "b"},
                    {"t3", "c"},
                    {"t4", "a"},
                    {"t5", "c"},
                    {"c", "b"},
                    {"t6", "b"},
                    {"b", "a"},
                    {"a", ""}}),
              R"(
* t1
| * t2
| | * t3
| | | * t4
| |_|/
|/| |
| | | * t5
| | |/
| | * c
| |/
| | * t6
| |/
| * b
|/
* a
)");
}

TEST(LogGraphTest, DrawsSeveralRoots)
{
    EXPECT_EQ(draw({{"b2", "b1"}, {"a2", "a1"}, {"b1", ""}, {"a1", ""}}), R"(
* b2
* b1
* a2
* a1
)");
}

TEST(LogGraphTest, ARootBesideLanesMovesThem)
{
    LogGraph graph;
    graph.add(0, {.kind = Kind::Listed, .index = 2});
    graph.add(1, {.kind = Kind::Listed, .index = 3});
    const auto row = graph.add(2, {});
    EXPECT_EQ(row.node, "* | ");
    EXPECT_EQ(row.more, "  | ");
    EXPECT_EQ(row.joints, (std::vector<std::string>{" /"}));
    EXPECT_EQ(graph.add(3, {}).node, "* ");
}

TEST(LogGraphTest, LanesOfACutListStayOpen)
{
    EXPECT_EQ(draw({{"d", "?"}, {"c", "?"}, {"b", "?"}}), R"(
* d
| * c
| | * b
)");
}

TEST(LogGraphTest, ACircleIsLeftOut)
{
    EXPECT_EQ(draw({{"b", "a"}, {"a", "b"}, {"c", ""}}), R"(
* c
)");
}

TEST(LogGraphTest, OrdersLinesOneAfterTheOther)
{
    const auto listed = [](std::size_t index) { return GraphParent{.kind = Kind::Listed, .index = index}; };
    // Two lines that grew in turns, from one root: 0 2 4 and 1 3 5 on 6.
    EXPECT_EQ(drawing_order({listed(2), listed(3), listed(4), listed(5), listed(6), listed(6), {}}),
              (std::vector<std::size_t>{0, 2, 4, 1, 3, 5, 6}));
}

/// Each line is one of git's; each snapshot comes once and after its children; lanes are those that wait.
void check_drawing(const std::vector<GraphParent>& parents)
{
    const auto order = drawing_order(parents);
    ASSERT_EQ(order.size(), parents.size());
    std::vector<bool> drawn(parents.size(), false);
    LogGraph graph;
    for (const std::size_t index : order) {
        ASSERT_FALSE(drawn[index]);
        drawn[index] = true;
        const bool has_parent = parents[index].kind == Kind::Listed;
        ASSERT_FALSE(has_parent && drawn[parents[index].index]);
        const auto row = graph.add(index, parents[index]);
        ASSERT_EQ(std::count(row.node.begin(), row.node.end(), '*'), 1);
        ASSERT_EQ(row.node.find_first_not_of("|* "), std::string::npos);
        ASSERT_LE(row.joints.size(), 2U);
        for (const auto& joint : row.joints)
            ASSERT_EQ(joint.find_first_not_of("|/_ "), std::string::npos) << joint;
    }
}

TEST(LogGraphTest, DrawsAnyForest)
{
    std::mt19937 random{1};
    for (int round = 0; round < 200; ++round) {
        std::vector<GraphParent> parents(1 + random() % 60);
        for (std::size_t i = 0; i + 1 < parents.size(); ++i)
            if (random() % 8 != 0)
                parents[i] = {.kind = Kind::Listed, .index = i + 1 + random() % (parents.size() - i - 1)};
        check_drawing(parents);
    }
}

/// Seconds for all of a tree of `count`, the least of three.
double seconds_of(std::size_t count, GraphParent (*parent_of)(std::size_t index, std::size_t count))
{
    std::vector<GraphParent> parents;
    for (std::size_t i = 0; i < count; ++i)
        parents.push_back(i + 1 == count ? GraphParent{} : parent_of(i, count));
    double least = 1e9;
    for (int round = 0; round < 3; ++round) {
        const auto begin = std::chrono::steady_clock::now();
        LogGraph graph;
        std::size_t characters = 0;
        for (const std::size_t index : drawing_order(parents))
            characters += graph.add(index, parents[index]).node.size();
        EXPECT_GE(characters, 2 * count);
        least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    }
    return least;
}

TEST(LogGraphTest, TenThousandSnapshotsTakeTimeByTheirNumber)
{
    constexpr std::size_t kMany = 10'000, kMore = 16 * kMany;
    const std::pair<const char*, GraphParent (*)(std::size_t, std::size_t)> shapes[] = {
        {"line", [](std::size_t i, std::size_t) { return GraphParent{.kind = Kind::Listed, .index = i + 1}; }},
        {"star", [](std::size_t, std::size_t count) { return GraphParent{.kind = Kind::Listed, .index = count - 1}; }},
        {"comb", [](std::size_t i, std::size_t count) {
             return GraphParent{.kind = Kind::Listed, .index = std::min(i + 2 - i % 2, count - 1)};
         }}};
    for (const auto& [name, parent_of] : shapes) {
        const double many = seconds_of(kMany, parent_of);
        const double more = seconds_of(kMore, parent_of);
        EXPECT_LT(many, 0.5) << name;                 // some milliseconds
        EXPECT_LT(more, 16 * 6 * many + 0.1) << name; // 16 times as many; were it quadratic: 256
    }
}

} // namespace
} // namespace coppice::cli
