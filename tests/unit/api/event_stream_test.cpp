#include "coppice/api/event.h"
#include "coppice/api/sse.h"
#include "coppice/base/json.h"

#include <coppice/test/expect.h>
#include <gtest/gtest.h>

namespace coppice::api {
namespace {

std::vector<std::string> feed_in_pieces(std::string_view text, std::size_t size)
{
    EventStreamParser parser;
    std::vector<std::string> heard;
    for (; !text.empty(); text.remove_prefix(std::min(size, text.size()))) {
        EXPECT_TRUE(test::succeeds(parser.feed(text.substr(0, size))));
        while (const auto message = parser.next())
            heard.push_back(message->id + "|" + message->data);
    }
    return heard;
}

TEST(EventStreamTest, TheSameHoweverItIsCut)
{
    constexpr std::string_view kText =
        ": hello\n\nid: 1\nevent: a\ndata: x\ndata:  y\n\nid:2\r\ndata\r\n\r\n\nevent: b\n\n"
        "data: last\n\ndata: unfinished";
    const std::vector<std::string> expected{"1|x\n y", "2|", "2|last"};
    for (std::size_t size = 1; size <= kText.size(); ++size)
        EXPECT_EQ(feed_in_pieces(kText, size), expected) << size;
}

TEST(EventStreamTest, WritesWhatItReads)
{
    const Event event{
        .id = 5, .time = "t", .type = "operation.ended", .subject = "/v1/x", .data = {{"text", "a\nb\r\n\nid: 9"}}};
    EventStreamParser parser;
    ASSERT_TRUE(test::succeeds(parser.feed(to_event_stream(event))));
    const auto message = parser.next();
    ASSERT_TRUE(message);
    EXPECT_EQ(message->id, "5");
    const auto back = test::value_of(parse_event(test::value_of(parse_json(message->data))));
    EXPECT_EQ(to_json(back), to_json(event));
    EXPECT_FALSE(parser.next());
}

TEST(EventStreamTest, ALineWithoutEndIsRefused)
{
    EventStreamParser parser;
    const std::string piece(64U << 10, 'x');
    Result<> fed;
    for (int i = 0; i < 100 && fed; ++i) {
        fed = parser.feed(piece);
        EXPECT_FALSE(parser.next());
    }
    EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "longer than 1 MiB", fed));
}

} // namespace
} // namespace coppice::api
