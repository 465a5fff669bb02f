#include "coppice/base/text.h"

#include <gtest/gtest.h>

namespace coppice {
namespace {

TEST(TextTest, PartsAreTakenOffOneByOne)
{
    std::string_view text = "a,,b";
    EXPECT_EQ(next_part(text, ','), "a");
    EXPECT_EQ(next_part(text, ','), "");
    EXPECT_EQ(text, "b");
    EXPECT_EQ(next_part(text, ','), "b");
    EXPECT_TRUE(text.empty());
    EXPECT_EQ(next_part(text, ','), "");
}

TEST(TextTest, AllPartsAndAllWords)
{
    using Parts = std::vector<std::string_view>;
    EXPECT_EQ(split("a:b:", ':'), (Parts{"a", "b", ""}));
    EXPECT_EQ(split("", ':'), Parts{""});
    EXPECT_EQ(words_of("  a b  c "), (Parts{"a", "b", "c"}));
    EXPECT_EQ(words_of(""), Parts{});
}

TEST(Printable, ControlCharactersOfBothKinds)
{
    EXPECT_EQ(printable("a\x1b[2J\n\t\x7f"), "a?[2J\\n\\t?");
    EXPECT_EQ(printable("\xc2\x9b"
                        "2J\xc2\xa0\xc3\xa9\xc2"),
              "?2J\xc2\xa0\xc3\xa9\xc2")
        << "U+009B, but no letter";
}

} // namespace
} // namespace coppice
