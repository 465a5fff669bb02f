#include "coppice/api/operation.h"
#include "coppice/api/problem.h"

#include <coppice/test/expect.h>
#include <gtest/gtest.h>

namespace coppice::api {
namespace {

constexpr ErrorKind kKinds[] = {ErrorKind::NotFound,
                                ErrorKind::Denied,
                                ErrorKind::Conflict,
                                ErrorKind::Corrupt,
                                ErrorKind::Unavailable,
                                ErrorKind::Unsupported,
                                ErrorKind::Invalid,
                                ErrorKind::Gone,
                                ErrorKind::CommandNotFound,
                                ErrorKind::CommandNotExecutable,
                                ErrorKind::Os};

TEST(ProblemTest, EveryKindSurvivesBothWays)
{
    for (const ErrorKind kind : kKinds) {
        const Problem problem{Error{kind, "attach x: no \"such\"\nthing"}.hint("do y")};
        const Error back = error_of(problem.status, to_json(problem).dump());
        EXPECT_EQ(back.kind(), kind) << word_of(kind);
        EXPECT_EQ(back.message(), problem.error.message());
        EXPECT_EQ(back.hint_text(), "do y");
        EXPECT_GE(status_of(kind), 400);
    }
}

TEST(ProblemTest, HasTheMembersOfRfc9457)
{
    Problem problem{412, Error{ErrorKind::Conflict, "changed"}};
    problem.request = "r1";
    const auto document = to_json(problem);
    EXPECT_EQ(document.at("type"), "urn:coppice:error:conflict");
    EXPECT_EQ(document.at("status"), 412);
    EXPECT_EQ(document.at("detail"), "changed");
    EXPECT_EQ(document.at("instance"), "urn:coppice:request:r1");
    EXPECT_FALSE(document.contains("hint"));
}

TEST(ProblemTest, AnAnswerOfSomebodyElseBecomesAnErrorWithItsStatus)
{
    for (const char* const body :
         {"", "<html>", "[]", "{}", R"({"type":5})", R"({"type":"about:blank","detail":"x"})"}) {
        const Error error = error_of(503, body);
        EXPECT_EQ(error.kind(), ErrorKind::Unavailable) << body;
        EXPECT_NE(error.message().find("503"), std::string::npos);
    }
    // A kind of a newer daemon: the text is still its own.
    const Error newer = error_of(404, R"({"type":"urn:coppice:error:melted","detail":"it melted"})");
    EXPECT_EQ(newer.kind(), ErrorKind::NotFound);
    EXPECT_EQ(newer.message(), "it melted");
}

TEST(OperationTest, SurvivesBothWays)
{
    Operation operation;
    operation.id = "0a";
    operation.kind = "vdisk.import";
    operation.subject = "/v1/vdisks/debian";
    operation.state = OperationState::Failed;
    operation.version = 7;
    operation.progress = {.done = 3, .total = 9, .unit = "bytes", .stage = "reading"};
    operation.created = operation.started = operation.ended = "2026-01-31T08:15:00.000000001Z";
    operation.error = Error{ErrorKind::Corrupt, "broken"}.hint("mend it");
    const auto back = test::value_of(parse_operation(to_json(operation)));
    EXPECT_EQ(to_json(back), to_json(operation));
    EXPECT_EQ(back.error->kind(), ErrorKind::Corrupt);
    EXPECT_EQ(back.progress, operation.progress);
}

TEST(OperationTest, NamesWhatIsWrong)
{
    auto document = to_json(Operation{});
    document["state"] = "resting";
    EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "state: there is no state 'resting'", parse_operation(document)));
    document = to_json(Operation{});
    document["progress"]["done"] = -1;
    EXPECT_TRUE(test::fails_as(ErrorKind::Invalid, "progress.done", parse_operation(document)));
}

} // namespace
} // namespace coppice::api
