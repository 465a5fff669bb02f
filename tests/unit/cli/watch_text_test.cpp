#include "watch_text.h"

#include <cstdlib>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace coppice::cli {
namespace {

std::vector<Sample> samples()
{
    instance::Usage usage;
    usage.memory = 1610612736;
    usage.memory_limit = 3221225472;
    usage.processes = 3;
    return {{"web", usage, 51.26}, {"new", {}, {}}};
}

TEST(WatchText, TablesAreForPeople)
{
    EXPECT_EQ(samples_text(samples(), Table::Form::Text),
              "NAME  CPU %  MEMORY   LIMIT  MEMORY %  SWAP  PROCESSES  MOST  READ  WRITTEN\n"
              "web   51.3   1.5 GiB  3 GiB  50.0      -     3          -     -     -\n"
              "new   -      -        -      -         -     -          -     -     -\n");
}

TEST(WatchText, CsvIsExact)
{
    const auto text = samples_text(samples(), Table::Form::Csv);
    EXPECT_NE(text.find("\r\nweb,51.3,1610612736,3221225472,50.0,-,3,-,-,-\r\n"), std::string::npos) << text;
}

TEST(WatchText, NullIsWhatIsNotCounted)
{
    const auto document = nlohmann::json::parse(samples_text(samples(), Table::Form::Json));
    EXPECT_EQ(document[0]["name"], "web");
    EXPECT_EQ(document[0]["cpuPercent"], 51.26);
    EXPECT_TRUE(document[0]["swapBytes"].is_null());
    EXPECT_TRUE(document[1]["cpuPercent"].is_null());
}

TEST(WatchText, ProcessesCommandNoTerminal)
{
    ::setenv("TZ", "UTC", 1); // NOLINT(concurrency-mt-unsafe): a test of one thread
    instance::ProcessInfo process;
    process.pid = 1;
    process.host_pid = 4711;
    process.state = 'R';
    process.started = "2026-11-21T17:33:12.000000001Z";
    process.command = "sh\x1b[2J\n\xc2\x9b"
                      "2J\xff";
    for (const auto form : {Table::Form::Text, Table::Form::Csv, Table::Form::Json}) {
        const auto text = processes_text({process}, form);
        EXPECT_EQ(text.find('\x1b'), std::string::npos);
        if (form == Table::Form::Json) continue;
        EXPECT_NE(text.find("sh?[2J\\n?2J"), std::string::npos) << text;
    }
    EXPECT_EQ(processes_text({process}, Table::Form::Text).find("PID  HOST PID  USER"), 0);
}

} // namespace
} // namespace coppice::cli
