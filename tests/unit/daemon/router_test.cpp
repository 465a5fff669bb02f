#include "coppice/daemon/router.h"

#include <coppice/test/expect.h>
#include <gtest/gtest.h>

namespace coppice::daemon {
namespace {

Route route(Method method, std::string path)
{
    return {
        .method = method, .path = path, .id = path, .handler = [](const Request&) { return Result<Reply>{Reply{}}; }};
}

std::string found(const Router& router, Method method, std::string_view target)
{
    const auto result = router.find(method, test::value_of(parse_target(target)));
    if (std::holds_alternative<Router::NoSuchPath>(result)) return "no such path";
    if (const auto* const others = std::get_if<Router::OtherMethods>(&result)) {
        std::string text = "only";
        for (const Method other : others->allowed)
            text += " " + std::string{word_of(other)};
        return text;
    }
    const auto& match = std::get<Router::Match>(result);
    std::string text = match.route->path;
    for (const auto& [name, value] : match.params)
        text += " " + name + "=" + value;
    return text;
}

TEST(RouterTest, FindsByMethodAndTemplate)
{
    const Router router{{route(Method::Get, "/v1"), route(Method::Get, "/v1/things/{id}"),
                         route(Method::Get, "/v1/things/all"), route(Method::Delete, "/v1/things/{id}"),
                         route(Method::Get, "/v1/things/{id}/parts/{part}")}};
    EXPECT_EQ(found(router, Method::Get, "/v1"), "/v1");
    EXPECT_EQ(found(router, Method::Get, "/v1/"), "/v1");
    EXPECT_EQ(found(router, Method::Get, "/v1/things/7"), "/v1/things/{id} id=7");
    EXPECT_EQ(found(router, Method::Get, "/v1/things/all"), "/v1/things/all");
    EXPECT_EQ(found(router, Method::Delete, "/v1/things/all"), "/v1/things/{id} id=all");
    EXPECT_EQ(found(router, Method::Get, "/v1/things/a%2Fb/parts/%7Bid%7D"),
              "/v1/things/{id}/parts/{part} id=a/b part={id}");
    EXPECT_EQ(found(router, Method::Post, "/v1/things/7"), "only GET DELETE");
    EXPECT_EQ(found(router, Method::Get, "/v1/things"), "no such path");
    EXPECT_EQ(found(router, Method::Get, "/"), "no such path");
}

TEST(RouterTest, DecodesTargets)
{
    const auto target = test::value_of(parse_target("/a/b%20c?x=1&y=a+b%26&z"));
    EXPECT_EQ(target.segments, (std::vector<std::string>{"a", "b c"}));
    EXPECT_EQ(target.query, (std::map<std::string, std::string>{{"x", "1"}, {"y", "a b&"}, {"z", ""}}));
    EXPECT_EQ(target.path(), "/a/b c");
}

TEST(RouterTest, RefusesTargetsThatMeanSomethingElseToOthers)
{
    for (const char* const target :
         {"", "*", "http://x/v1", "v1", "//", "/a//b", "/./a", "/a/..", "/a/%2e%2e/b", "/a/%2E", "/a%", "/a%4", "/a%4g",
          "/a%00b", "/a%0d%0aX", "/a?x=1&x=2", "/a?=1", "/a?x=%zz", "/a\x01"})
        EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "", parse_target(target))) << target;
    EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "longer", parse_target("/" + std::string(8192, 'a'))));
    std::string deep;
    for (int i = 0; i < 33; ++i)
        deep += "/a";
    EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "too deep", parse_target(deep)));
}

TEST(RouterDeathTest, TwoEqualRowsAreABug)
{
    EXPECT_DEATH(Router({route(Method::Get, "/a"), route(Method::Get, "/a")}), "broken invariant");
}

} // namespace
} // namespace coppice::daemon
