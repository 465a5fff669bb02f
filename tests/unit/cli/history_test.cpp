#include "history.h"

#include "coppice/base/text.h"

#include <coppice/test/expect.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

namespace coppice::cli {
namespace {

nlohmann::json snapshot(const std::string& id, const nlohmann::json& parent)
{
    return {{"id", id + std::string(32 - id.size(), '0')},
            {"vdisk", "debian"},
            {"parent", parent.is_null() ? parent : nlohmann::json(parent.get<std::string>() + std::string(30, '0'))},
            {"state", "durable"},
            {"created", "2026-11-21T17:33:12Z"},
            {"author", "root"},
            {"message", "what " + id + "\n\nmore"},
            {"bytes", 2048U},
            {"versions", nlohmann::json::array()},
            {"tags", nlohmann::json::array()},
            {"branches", nlohmann::json::array()}};
}

class HistoryTest : public testing::Test {
protected:
    HistoryTest()
    {
        ::setenv("TZ", "UTC", 1); // NOLINT(concurrency-mt-unsafe): a test of one thread
        ::tzset();
        list_ = {snapshot("cc", "aa"), snapshot("bb", "aa"), snapshot("aa", nullptr)};
        list_[0]["branches"] = {"web-1"};
        list_[1]["versions"] = {2U, 3U};
        list_[1]["tags"] = {"good"};
    }
    std::string text(const LogStyle& style)
    {
        return log_text(test::value_of(read_snapshots(list_.dump())), style, Paint{false});
    }
    nlohmann::json list_;
};

TEST_F(HistoryTest, OneLineEach)
{
    EXPECT_EQ(text({.one_line = true}),
              "cc0000000000 (web-1)  2026-11-21 17:33  root  2 KiB  what cc\n"
              "bb0000000000 (debian:2, debian:3, debian@good)  2026-11-21 17:33  root  2 KiB  what bb\n"
              "aa0000000000  2026-11-21 17:33  root  2 KiB  what aa\n");
}

TEST_F(HistoryTest, ASizeThatNobodyKnowsYet)
{
    list_ = {snapshot("aa", nullptr)};
    list_[0]["bytes"] = 0U;
    EXPECT_EQ(text({.one_line = true}), "aa0000000000  2026-11-21 17:33  root  -  what aa\n");
    list_[0]["state"] = "sealed";
    EXPECT_EQ(text({.one_line = true}), "aa0000000000  2026-11-21 17:33  root  0 B  what aa\n");
}

TEST_F(HistoryTest, DrawnWithAllAboutEach)
{
    list_.erase(2);
    list_.push_back(snapshot("aa", nullptr));
    EXPECT_EQ(text({.graph = true}), "* snapshot cc000000000000000000000000000000 (web-1)\n"
                                     "| Vdisk:  debian\n"
                                     "| Author: root\n"
                                     "| Date:   2026-11-21 17:33\n"
                                     "| Size:   2 KiB, durable\n"
                                     "|\n"
                                     "|     what cc\n"
                                     "|\n"
                                     "|     more\n"
                                     "|\n"
                                     "| * snapshot bb000000000000000000000000000000 (debian:2, debian:3, debian@good)\n"
                                     "| | Vdisk:  debian\n"
                                     "| | Author: root\n"
                                     "| | Date:   2026-11-21 17:33\n"
                                     "| | Size:   2 KiB, durable\n"
                                     "| |\n"
                                     "| |     what bb\n"
                                     "| |\n"
                                     "| |     more\n"
                                     "| |\n"
                                     "|/\n"
                                     "* snapshot aa000000000000000000000000000000\n"
                                     "  Vdisk:  debian\n"
                                     "  Author: root\n"
                                     "  Date:   2026-11-21 17:33\n"
                                     "  Size:   2 KiB, durable\n"
                                     "\n"
                                     "      what aa\n"
                                     "\n"
                                     "      more\n"
                                     "\n");
}

TEST_F(HistoryTest, AParentOutsideIsARootUnlessTheListWasCut)
{
    list_.erase(2);
    const auto whole = text({.graph = true, .one_line = true});
    EXPECT_EQ(whole.substr(0, 3), "* c");
    EXPECT_EQ(whole.substr(whole.find('\n') + 1, 3), "* b");
    const auto cut = text({.graph = true, .one_line = true, .is_cut = true});
    EXPECT_EQ(cut.substr(cut.find('\n') + 1, 5), "| * b");
}

TEST_F(HistoryTest, CommandsNoTerminal)
{
    list_[0]["message"] = "\x1b[2J";
    list_[0]["author"] = "a\nb";
    EXPECT_EQ(text({.graph = true}).find('\x1b'), std::string::npos);
    EXPECT_NE(text({.one_line = true}).find("a\\nb"), std::string::npos);
}

TEST_F(HistoryTest, RefusesWhatIsNoSnapshot)
{
    for (const char* const key :
         {"id", "vdisk", "parent", "state", "created", "author", "message", "bytes", "versions"}) {
        auto wrong = list_;
        wrong[1][key] = -1;
        EXPECT_EQ(read_snapshots(wrong.dump()).error().kind(), ErrorKind::Corrupt) << key;
    }
    for (const auto& key : {"id", "vdisk", "parent", "state", "created", "author", "message", "bytes", "tags"}) {
        auto wrong = list_;
        wrong[0].erase(key);
        EXPECT_FALSE(read_snapshots(wrong.dump())) << key;
    }
    for (const char* const text : {"", "{}", "null", "1", "[1]", "[[]]", "[null]", "[{}]", "[", R"(["x"])", "[]x"})
        EXPECT_FALSE(read_snapshots(text)) << text;
    EXPECT_FALSE(read_snapshots(list_.dump().replace(2, 0, R"("bytes":1,)"))) << "a doubled member";
    EXPECT_FALSE(read_snapshots(cat(R"([{"more":)", std::string(100'000, '['))));
    EXPECT_FALSE(read_snapshots(std::string_view{"[]\0x", 4}));
    EXPECT_FALSE(read_snapshots("[{\"more\": \"\xff\"}]")) << "no UTF-8";
}

TEST_F(HistoryTest, PassesOverWhatItDoesNotKnow)
{
    const auto expected = text({.graph = true});
    for (auto& one : list_)
        one["more"] =
            nlohmann::json::parse(R"({"id": 1, "tags": [{"a": [null, true, -1, 1.5, "x"]}], "b": {"bytes": "x"}})");
    EXPECT_EQ(text({.graph = true}), expected);
    EXPECT_TRUE(test::value_of(read_snapshots(" [ ] ")).empty());
}

} // namespace
} // namespace coppice::cli
