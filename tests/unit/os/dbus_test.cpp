#include "coppice/os/dbus.h"

#include "coppice/base/text.h"

#include <gtest/gtest.h>
#include <string>

namespace coppice::os::dbus {
namespace {

using namespace std::string_literals;

/// A method call, byte by byte after the specification's "Message Format".
const std::string kCall = "l\1\0\1"             // little-endian, call, no flags, version 1
                          "\7\0\0\0"            // length of the body
                          "\5\0\0\0"            // serial
                          "\x27\0\0\0"          // length of the fields
                          "\1\1o\0\2\0\0\0/x\0" // path
                          "\0\0\0\0\0"          // to a multiple of 8
                          "\3\1s\0\3\0\0\0Get\0"
                          "\0\0\0\0"
                          "\x8\1g\0\1s\0" // signature
                          "\0"            // to a multiple of 8
                          "\2\0\0\0ab\0"s;

TEST(DBusTest, WritesACallAsSpecified)
{
    Writer body;
    body.text("ab");
    const Message call{
        .type = MessageType::Call, .serial = 5, .path = "/x", .member = "Get", .signature = "s", .body = body.bytes()};
    EXPECT_EQ(encode(call), kCall);
}

TEST(DBusTest, ReadsWhatItWrote)
{
    const auto message = decode(kCall);
    ASSERT_TRUE(message) << message.error().line();
    EXPECT_EQ(message->path, "/x");
    EXPECT_EQ(message->member, "Get");
    EXPECT_EQ(message->serial, 5U);
    EXPECT_EQ(Reader{message->body}.text().value(), "ab");
    EXPECT_EQ(encode(*message), kCall);
}

TEST(DBusTest, EveryPartOfAMessageIsRefusedOrWaitedFor)
{
    for (std::size_t length = 0; length < kCall.size(); ++length) {
        const auto part = kCall.substr(0, length);
        const auto known = message_length(part);
        ASSERT_TRUE(known) << length;
        EXPECT_EQ(known->value_or(kCall.size()), kCall.size());
        EXPECT_FALSE(decode(part)) << length;
    }
}

TEST(DBusTest, RefusesWhatIsNoMessage)
{
    auto other_end = kCall;
    other_end[0] = 'B';
    EXPECT_FALSE(message_length(other_end));
    auto huge = kCall;
    huge[7] = 127;
    EXPECT_FALSE(message_length(huge));
    auto wrong_type = kCall;
    wrong_type[18] = 's'; // of the path
    EXPECT_FALSE(decode(wrong_type));
    auto endless = kCall;
    endless[20] = 100; // length of the path
    EXPECT_FALSE(decode(endless));
}

TEST(DBusTest, VariantsAndPropertiesAreAligned)
{
    Writer out;
    out.properties({{"A", std::uint64_t{1}}, {"BB", true}});
    const auto expected = "\x28\0\0\0"                     // length of the array, without the padding behind it
                          "\0\0\0\0"                       // elements begin at multiples of 8
                          "\1\0\0\0A\0\1t\0\0\0\0\0\0\0\0" // name, signature, padding
                          "\1\0\0\0\0\0\0\0"               // 64 bits
                          "\2\0\0\0BB\0\1b\0\0\0\1\0\0\0"s;
    EXPECT_EQ(out.bytes(), expected);
    Writer list;
    list.variant(std::vector<std::string>{"x"});
    EXPECT_EQ(list.bytes(), "\2as\0\6\0\0\0\1\0\0\0x\0"s);
    Writer mask;
    mask.variant(std::vector<std::uint8_t>{5, 128});
    EXPECT_EQ(mask.bytes(), "\2ay\0\2\0\0\0\5\x80"s);
    Writer none;
    none.properties({});
    EXPECT_EQ(none.bytes(), "\0\0\0\0\0\0\0\0"s);
}

TEST(DBusTest, TextsMustEnd)
{
    EXPECT_FALSE(Reader{"\2\0\0\0ab"s}.text());
    EXPECT_FALSE(Reader{"\2\0\0\0abc"s}.text());
    EXPECT_FALSE(Reader{"\2\0\0\0a\0\0"s}.text());
    EXPECT_FALSE(Reader{"\xff\xff\xff\xff"s}.text());
    EXPECT_EQ(Reader{"\2\0\0\0ab\0"s}.text().value(), "ab");
    EXPECT_EQ(Reader{"\1s\0\0\2\0\0\0ab\0"s}.variant_text().value(), "ab");
    EXPECT_FALSE(Reader{"\1u\0\0\2\0\0\0"s}.variant_text());
}

TEST(DBusTest, AddressesOfOtherKindsAreRefused)
{
    for (const char* const address : {"", "tcp:host=localhost,port=1", "unix:abstract=/x", "nonsense"}) {
        const auto connection = Connection::open(address);
        ASSERT_FALSE(connection);
        EXPECT_EQ(connection.error().kind(), ErrorKind::Invalid) << address;
    }
    EXPECT_EQ(Connection::open("tcp:x;unix:path=/no%2dsuch").error().kind(), ErrorKind::NotFound);
}

} // namespace
} // namespace coppice::os::dbus
