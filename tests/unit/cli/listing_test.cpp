#include "listing.h"

#include "local_time.h"

#include <coppice/test/expect.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

namespace coppice::cli {
namespace {

using Kind = Column::Kind;

const nlohmann::json kList = nlohmann::json::parse(R"([
  {"id": "0123456789abcdef0123456789abcdef", "bytes": 1610612736, "created": "2026-11-21T17:33:12.000000001Z",
   "message": "one, \"two\"\nthree", "pinned": true, "tags": ["a", "b"], "parent": null},
  {"id": "ff", "bytes": 0, "created": "never", "message": "\u001b[2J", "pinned": false, "tags": [], "parent": "x"}])");
const std::vector<Column> kColumns{
    {"id", Kind::Id}, {"size", Kind::Bytes, "bytes"}, {"created", Kind::Time}, {"message"},
    {"pinned"},       {"tags", Kind::Words},          {"parent", Kind::Text}};

class ListingTest : public testing::Test {
protected:
    ListingTest()
    {
        ::setenv("TZ", "CET-1", 1); // NOLINT(concurrency-mt-unsafe): a test of one thread
        ::tzset();
    }
};

TEST_F(ListingTest, TablesAreForPeople)
{
    EXPECT_EQ(test::value_of(list_text(kList, {}, "id", kColumns)),
              "ID            SIZE     CREATED           MESSAGE     PINNED  TAGS  PARENT\n"
              "0123456789ab  1.5 GiB  2026-11-21 18:33  one, \"two\"  yes     a b   \n"
              "ff            0 B      never             ?[2J                      x\n");
}

TEST_F(ListingTest, CsvIsExact)
{
    EXPECT_EQ(
        test::value_of(list_text(kList, {.format = "csv"}, "id", kColumns)),
        "id,size,created,message,pinned,tags,parent\r\n"
        "0123456789abcdef0123456789abcdef,1610612736,2026-11-21T17:33:12.000000001Z,\"one, \"\"two\"\"\nthree\",yes,"
        "a b,\r\n"
        "ff,0,never,\x1b[2J,,,x\r\n");
}

TEST_F(ListingTest, JsonIsTheApisOwn)
{
    EXPECT_EQ(nlohmann::json::parse(test::value_of(list_text(kList, {.format = "json"}, "id", kColumns))), kList);
    EXPECT_EQ(test::value_of(list_text(nlohmann::json::array(), {.format = "json"}, "id", kColumns)), "[]\n");
}

TEST_F(ListingTest, QuietLeavesTheIds)
{
    EXPECT_EQ(test::value_of(list_text(kList, {.quiet = true}, "id", kColumns)),
              "0123456789abcdef0123456789abcdef\nff\n");
}

TEST_F(ListingTest, AnEmptyTableHasItsHeading)
{
    EXPECT_EQ(test::value_of(list_text(nlohmann::json::array(), {}, "id", {{"id"}, {"state"}})), "ID  STATE\n");
}

TEST_F(ListingTest, RefusesWhatIsNoListOfObjects)
{
    for (const char* const text : {"{}", "null", "[1]", "\"x\"", "[[]]"})
        EXPECT_EQ(list_text(nlohmann::json::parse(text), {}, "id", kColumns).error().kind(), ErrorKind::Corrupt)
            << text;
    EXPECT_EQ(list_text(kList, {.format = "yaml"}, "id", kColumns).error().kind(), ErrorKind::Invalid);
}

TEST_F(ListingTest, ShowsOneObject)
{
    EXPECT_EQ(test::value_of(object_text(kList[0], "table", {{"id"}, {"size", Kind::Bytes, "bytes"}})),
              "WHAT  VALUE\nid    0123456789abcdef0123456789abcdef\nsize  1.5 GiB\n");
    EXPECT_EQ(nlohmann::json::parse(test::value_of(object_text(kList[0], "json", {}))), kList[0]);
}

using LocalTimeTest = ListingTest;

TEST_F(LocalTimeTest, ReadsWhatUsersWrite)
{
    EXPECT_EQ(test::value_of(parse_moment("+2h30m", 0)), "1970-01-01T02:30:00.000000000Z");
    EXPECT_EQ(test::value_of(parse_moment("2026-12-01 04:00", 0)), "2026-12-01T03:00:00.000000000Z");
    EXPECT_EQ(test::value_of(parse_moment("2026-12-01 04:00:30", 0)), "2026-12-01T03:00:30.000000000Z");
    EXPECT_EQ(test::value_of(parse_moment("2026-12-01T04:00:00Z", 0)), "2026-12-01T04:00:00.000000000Z");
    for (const char* const text :
         {"", "tomorrow", "+", "+2", "2026-12-01", "2026-02-30 04:00", "2026-12-01 04:00x", "+290y"})
        EXPECT_EQ(parse_moment(text, 0).error().kind(), ErrorKind::Invalid) << text;
    EXPECT_FALSE(parse_moment("+2500000h", 253'402'300'000));
    EXPECT_FALSE(parse_moment("1960-01-01T00:00:00Z", 0));
}

} // namespace
} // namespace coppice::cli
