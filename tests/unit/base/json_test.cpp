#include "coppice/base/json.h"

#include "coppice/test/expect.h"

#include <ctime>
#include <nlohmann/json.hpp>

namespace coppice {
namespace {

using nlohmann::json;
using test::fails_as;
using test::succeeds;
using test::value_of;
using namespace std::string_literals;

const json kDocument = json::parse(R"({
    "name": "web", "nothing": null, "flag": true, "number": 5, "negative": -5, "large": 18446744073709551615,
    "fraction": 1.5, "list": ["a", "b"], "mixed": ["a", 1], "nul": "a\u0000b",
    "inner": {"deep": {"x": "y"}}, "items": [{"k": 1}, {"k": "wrong"}]
})");
const JsonNode kNode{kDocument};

TEST(JsonTest, NotJsonNamesThePosition)
{
    for (const char* const text : {"", "{", "{\"a\":}", "[1,]", "nul", "{\"a\":1}x", "\"\\ud800\"", "'a'", "01"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not valid JSON near byte", parse_json(text))) << text;
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not valid JSON", parse_json("\"\xff\"")));
}

TEST(JsonTest, NothingHidesBehindANulByte)
{
    // What another program reads to its end must not be half a document to us.
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not valid JSON", parse_json("{\"a\":1}\0{\"b\":2}"s)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not valid JSON", parse_json("{}\0"s)));
}

TEST(JsonTest, NoMemberIsThereTwice)
{
    for (const char* const text : {R"({"a":1,"a":2})", R"({"a":1,"\u0061":1})", R"([{"x":{"b":{},"c":":","b":{}}}])"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "two members of one name", parse_json(text))) << text;
    for (const char* const text :
         {R"({"a":{"a":{"a":[{"a":1},{"a":1}]}}})", R"({":":":","\":":1})", R"(":")", "5", "[[]]"})
        EXPECT_TRUE(succeeds(parse_json(text))) << text;
}

TEST(JsonTest, DepthIsLimited)
{
    const auto nested = [](int depth) {
        return std::string(static_cast<std::size_t>(depth), '[') + std::string(static_cast<std::size_t>(depth), ']');
    };
    EXPECT_TRUE(succeeds(parse_json(nested(kJsonMaxDepth))));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "nested deeper", parse_json(nested(kJsonMaxDepth + 2))));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "nested deeper", parse_json(nested(200'000))));
    std::string objects;
    for (int i = 0; i < 100; ++i)
        objects += "{\"a\":";
    objects += "1" + std::string(100, '}');
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "nested deeper", parse_json(objects)));
}

TEST(JsonTest, ANumberThatFitsNowhere)
{
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not valid JSON", parse_json("[1e400]")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "not valid JSON", parse_json("{\"a\": -1e999999999}")));
    // A whole number that fits nowhere is a fraction then, and refused where a whole one is wanted.
    const auto large = value_of(parse_json("18446744073709551616"));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "whole number", JsonNode{large}.unsigned_integer()));
}

TEST(JsonTest, TimeIsLinear)
{
    // 16 MiB of config.json is allowed: a parser that looks at all siblings for each of them never ends.
    const auto seconds_for = [](int objects) {
        std::string text = "[{}";
        for (int i = 1; i < objects; ++i)
            text += ",{}";
        const std::clock_t before = std::clock();
        EXPECT_TRUE(succeeds(parse_json(text + "]")));
        return static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
    };
    const double few = seconds_for(2000), many = seconds_for(8000);
    EXPECT_LT(many, 8 * few + 0.02) << few << " s for 2,000 objects"; // linear: four times, quadratic: sixteen
}

TEST(JsonTest, BracketsInTextsAreNoDepth)
{
    EXPECT_TRUE(succeeds(parse_json("[\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"]")));
    EXPECT_TRUE(succeeds(parse_json("[" + std::string("[],{},").append("[[]],{\"]\":{}}") + "]")));
    std::string siblings = "[[]";
    for (int i = 0; i < 1000; ++i)
        siblings += ",[]";
    EXPECT_TRUE(succeeds(parse_json(siblings + "]")));
}

TEST(JsonTest, NullCountsAsAbsent)
{
    EXPECT_FALSE(value_of(kNode.find("nothing")).has_value());
    EXPECT_FALSE(value_of(kNode.find("missing")).has_value());
    EXPECT_EQ(value_of(kNode.text_or("nothing", "default")), "default");
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "lacks the member 'nothing'", kNode.get("nothing")));
    EXPECT_TRUE(value_of(kNode.texts_or_none("nothing")).empty());
    EXPECT_FALSE(value_of(kNode.find_integer("nothing")).has_value());
}

TEST(JsonTest, ComplaintsNameThePath)
{
    const auto deep = value_of(value_of(value_of(kNode.get("inner")).get("deep")).get("x"));
    EXPECT_EQ(deep.path(), "inner.deep.x");
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "inner.deep.x: must be true or false", deep.boolean()));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "inner.deep.x: must be an object", deep.find("z")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "mixed[1]: must be a string", value_of(kNode.get("mixed")).texts()));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "the document: lacks the member 'q'", kNode.get("q")));
    const auto visited = kNode.each("items", [](const JsonNode& item) -> Result<> {
        TRY(TRY(item.get("k")).integer());
        return {};
    });
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "items[1].k: must be a whole number", visited));
}

TEST(JsonTest, NulBytesAreRefused)
{
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "nul: holds a NUL byte", kNode.text_or("nul", "")));
    const json list = json::array({"fine", "a\0b"s});
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "[1]: holds a NUL byte", JsonNode{list}.texts()));
}

TEST(JsonTest, IntegersStayInTheirRange)
{
    const auto at = [](const char* key) { return value_of(kNode.get(key)); };
    EXPECT_EQ(value_of(at("number").integer(5, 5)), 5);
    EXPECT_EQ(value_of(at("negative").integer()), -5);
    EXPECT_EQ(value_of(at("large").unsigned_integer()), UINT64_MAX);
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "from 6 to 9", at("number").integer(6, 9)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "from 1 to 4", at("number").integer(1, 4)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "large", at("large").integer()));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "large", at("large").unsigned_integer(UINT64_MAX - 1)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "negative", at("negative").unsigned_integer()));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "fraction", at("fraction").integer()));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name", at("name").integer()));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "flag", at("flag").integer()));
}

TEST(JsonTest, WrongTypes)
{
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "flag: must be a string", kNode.text_or("flag", "")));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name: must be true or false", kNode.boolean_or("name", true)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name: must be an array of strings", kNode.texts_or_none("name")));
    const auto never = [](auto&&...) -> Result<> { return fail(ErrorKind::Os, "visited"); };
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "name: must be an array", kNode.each("name", never)));
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "list: must be an object", kNode.each_member("list", never)));
    EXPECT_TRUE(succeeds(kNode.each("missing", never)));
    EXPECT_TRUE(succeeds(kNode.each_member("nothing", never)));
}

TEST(JsonTest, MembersAreVisitedWithNames)
{
    std::string seen;
    EXPECT_TRUE(succeeds(kNode.each_member("inner", [&](const std::string& name, const JsonNode& value) -> Result<> {
        seen += name + "@" + value.path();
        return {};
    })));
    EXPECT_EQ(seen, "deep@inner.deep");
}

TEST(JsonTest, QuoteEscapesAndRepairs)
{
    EXPECT_EQ(json_quote("a\"b\\\n"), R"("a\"b\\\n")");
    EXPECT_EQ(json_quote("\x01"), "\"\\u0001\"");
    EXPECT_EQ(json_quote("a\xff"), "\"a\xEF\xBF\xBD\"");
}

} // namespace
} // namespace coppice
