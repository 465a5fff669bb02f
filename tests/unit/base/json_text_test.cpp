#include "coppice/base/json_text.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace coppice {
namespace {

TEST(JsonText, ReplacesWhatIsNoUtf8)
{
    EXPECT_EQ(json_text({{"a", "caf\xe9"}}), "{\"a\":\"caf\xef\xbf\xbd\"}");
    EXPECT_EQ(json_text({{"a", 1}}, 2), "{\n  \"a\": 1\n}");
}

TEST(JsonText, KnowsUtf8)
{
    for (const char* const good : {"", "plain", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                                   "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "caf\xc3\xa9!"})
        EXPECT_TRUE(is_utf8(good)) << good;
    for (const char* const bad :
         {"\x80", "caf\xe9", "\xc3", "\xc0\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xe2\x82", "\xed\xa0\x80",
          "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3(", "\xe2\x82("})
        EXPECT_FALSE(is_utf8(bad)) << bad;
}

} // namespace
} // namespace coppice
