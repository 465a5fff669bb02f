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

} // namespace
} // namespace coppice
