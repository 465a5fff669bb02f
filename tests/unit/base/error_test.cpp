#include "coppice/base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace coppice {
namespace {

using namespace std::string_literals;

TEST(ErrorTest, LayersReadFromTheOutsideIn)
{
    const Error error = Error::os(ENOENT, "open /x").with("attach root").with("run web");
    EXPECT_EQ(error.message(), "run web: attach root: open /x: No such file or directory");
    EXPECT_EQ(error.kind(), ErrorKind::NotFound);
    EXPECT_EQ(error.os_errno(), ENOENT);
}

TEST(ErrorTest, InnermostHintWins)
{
    const Error error = Error{ErrorKind::Invalid, "bad"}.hint("inner").with("outer").hint("outer hint");
    EXPECT_EQ(error.hint_text(), "inner");
    EXPECT_EQ(error.line(), "outer: bad (inner)");
    EXPECT_EQ((Error{ErrorKind::Invalid, "bad"}.line()), "bad");
}

TEST(ErrorTest, KindFollowsErrno)
{
    const std::pair<int, ErrorKind> expected[] = {
        {ESRCH, ErrorKind::NotFound},     {EPERM, ErrorKind::Denied},
        {EROFS, ErrorKind::Denied},       {EEXIST, ErrorKind::Conflict},
        {EBUSY, ErrorKind::Conflict},     {ENOSPC, ErrorKind::Unavailable},
        {EAGAIN, ErrorKind::Unavailable}, {EOPNOTSUPP, ErrorKind::Unsupported},
        {ELOOP, ErrorKind::Invalid},      {EIO, ErrorKind::Os},
    };
    for (const auto& [number, kind] : expected)
        EXPECT_EQ(Error::os(number, "x").kind(), kind) << number;
}

TEST(ErrorTest, AsChangesTheKindAndNothingElse)
{
    const Error error = Error::os(EPERM, "x").hint("h").as(ErrorKind::Unsupported);
    EXPECT_EQ(error.kind(), ErrorKind::Unsupported);
    EXPECT_EQ(error.os_errno(), EPERM);
    EXPECT_EQ(error.line(), "x: Operation not permitted (h)");
}

TEST(ErrorTest, EveryKindSurvivesTheWayToAnotherProcess)
{
    for (int kind = 0; kind <= static_cast<int>(ErrorKind::Os); ++kind) {
        const Error sent = Error{static_cast<ErrorKind>(kind), "what: why\nsecond line"}.hint("do this");
        const Error got = decode_error(encode(sent));
        EXPECT_EQ(static_cast<int>(got.kind()), kind);
        EXPECT_EQ(got.message(), sent.message());
        EXPECT_EQ(got.hint_text(), "do this");
    }
    EXPECT_EQ(decode_error(encode(Error{ErrorKind::Gone, "m"})).hint_text(), "");
}

TEST(ErrorTest, DecodesAnythingThatADyingProcessMaySend)
{
    EXPECT_EQ(decode_error("").message(), "an unknown error");
    EXPECT_EQ(decode_error("").kind(), ErrorKind::Os);
    EXPECT_EQ(decode_error("B").message(), "");
    EXPECT_EQ(decode_error("B").kind(), ErrorKind::Denied);
    EXPECT_EQ(decode_error("~out of range").kind(), ErrorKind::Os);
    EXPECT_EQ(decode_error("!below").kind(), ErrorKind::Os);
    EXPECT_EQ(decode_error("\xff high"s).kind(), ErrorKind::Os);
    EXPECT_EQ(decode_error("Cmessage\0"s).message(), "message");
    EXPECT_EQ(decode_error("Cmessage\0"s).hint_text(), "");
}

TEST(ErrorDeathTest, BrokenInvariantAborts) { EXPECT_DEATH(COPPICE_CHECK(1 == 2), "broken invariant: 1 == 2"); }

} // namespace
} // namespace coppice
