#include "names.h"

#include "completion_names.h"
#include "copy_plan.h"

#include <coppice/test/expect.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace coppice::cli {
namespace {

TEST(NamesTest, ReadsVersions)
{
    const auto version = test::value_of(parse_version_name("debian:12"));
    EXPECT_EQ(version.vdisk, "debian");
    EXPECT_EQ(version.number, 12U);
    EXPECT_EQ(version_target(version), "/v1/vdisks/debian/versions/12");
    for (const char* const text : {"", "debian", "debian:", ":1", "debian:0", "debian:-1", "debian:1x", "debian:test",
                                   "debian:99999999999999999999", "a:1:2"})
        EXPECT_EQ(parse_version_name(text).error().kind(), ErrorKind::Invalid) << text;
}

TEST(NamesTest, ReadsPlaces)
{
    const auto place = test::value_of(parse_place("debian:3:/etc/a:/b"));
    EXPECT_EQ(place.reference, "debian:3");
    EXPECT_EQ(place.path, "/etc/a:/b");
    EXPECT_EQ(test::value_of(parse_place("debian@x:/")).path, "/");
    for (const char* const text : {"", "debian", "debian:etc", ":/etc", "a/b:/etc", "/etc", "debian:3"})
        EXPECT_FALSE(parse_place(text)) << text;
}

TEST(NamesTest, EncodesReferences)
{
    EXPECT_EQ(snapshot_target("debian:3"), "/v1/snapshots/debian%3A3");
    EXPECT_EQ(snapshot_target("@3fa2/../x"), "/v1/snapshots/%403fa2%2F..%2Fx");
    EXPECT_EQ(branch_target("web 1"), "/v1/branches/web%201");
}

TEST(NamesTest, MakesPathsAbsolute)
{
    EXPECT_EQ(absolute_path("a/../b//./c/", "/x"), "/x/b/c");
    EXPECT_EQ(absolute_path("/../..", "/x"), "/");
    EXPECT_EQ(absolute_path("..", "/x/y"), "/x");
    EXPECT_EQ(absolute_path("", "/"), "/");
}

TEST(NamesTest, MakesSourcesAbsolute)
{
    const std::pair<const char*, const char*> sources[] = {{"image.tar", "/x/image.tar"},
                                                           {"dir:../y", "dir:/y"},
                                                           {"oci:layout:debian:12", "oci:/x/layout:debian:12"},
                                                           {"tar:/a/b", "tar:/a/b"},
                                                           {"disk:d.qcow2", "disk:/x/d.qcow2"},
                                                           {"docker-archive:a.tar", "docker-archive:/x/a.tar"},
                                                           {"docker://docker.io/library/debian:12", nullptr},
                                                           {"debian:bookworm", nullptr},
                                                           {"ubuntu:noble", nullptr},
                                                           {"machine:", nullptr},
                                                           {"ssh://root@host", nullptr},
                                                           {"/a/./b", nullptr}};
    for (const auto& [source, expected] : sources)
        EXPECT_EQ(test::value_of(absolute_source(source, "/x")), expected == nullptr ? source : expected);
    EXPECT_FALSE(absolute_source("", "/x"));
    EXPECT_FALSE(absolute_source("dir:", "/x"));
}

TEST(NamesTest, CompletesVdisks)
{
    const auto vdisks = nlohmann::json::parse(R"([{"name": "debian", "versions": [{"number": 1}, {"number": 2}],
        "tags": [{"name": "good"}]}, {"name": "web", "versions": [], "tags": []}, 7, {"name": 1}])");
    using Names = std::vector<std::string>;
    EXPECT_EQ(vdisk_words("VDISK", vdisks), (Names{"debian", "web"}));
    EXPECT_EQ(vdisk_words("VDISK:NUMBER", vdisks), (Names{"debian:1", "debian:2"}));
    EXPECT_EQ(vdisk_words("TAG", vdisks), (Names{"good"}));
    EXPECT_EQ(vdisk_words("REF", vdisks), (Names{"debian", "debian:1", "debian:2", "debian@good", "web"}));
}

/// One header block. @param type as in ustar
std::string header(char type, const std::string& size)
{
    std::string block(512, '\0');
    block.replace(124, size.size(), size);
    block[156] = type;
    block.replace(257, 5, "ustar");
    return block;
}

TEST(CopyPlanTest, FindsTheKindOfTheFirstEntry)
{
    EXPECT_EQ(test::value_of(first_entry(header('5', "0"))), CopiedKind::Directory);
    EXPECT_EQ(test::value_of(first_entry(header('0', "777"))), CopiedKind::File);
    EXPECT_EQ(test::value_of(first_entry(header('2', "0"))), CopiedKind::File);
    const auto extended = header('x', "00000001001") + std::string(1024, 'x') + header('5', "0"); // 513 bytes
    EXPECT_EQ(test::value_of(first_entry(extended)), CopiedKind::Directory);
    for (std::size_t i = 0; i < extended.size(); ++i)
        EXPECT_EQ(test::value_of(first_entry(std::string_view{extended}.substr(0, i))), std::nullopt);
}

TEST(CopyPlanTest, RefusesWhatIsNoArchive)
{
    EXPECT_FALSE(first_entry(std::string(512, '\0')));
    EXPECT_FALSE(first_entry(header('x', "77777777777")));
    EXPECT_FALSE(first_entry(header('x', "-1")));
    std::string endless;
    while (endless.size() < 2U << 20)
        endless += header('g', "0");
    EXPECT_FALSE(first_entry(endless));
}

TEST(CopyPlanTest, LandsAsDockerDoes)
{
    using enum CopiedKind;
    using enum Landing;
    const auto landing = [](CopiedKind kind, bool contents, Present present, std::string_view to = "x") {
        return test::value_of(landing_of(kind, contents, present, to));
    };
    EXPECT_EQ(landing(CopiedKind::File, false, Present::Nothing), As);
    EXPECT_EQ(landing(CopiedKind::File, false, Present::File), As);
    EXPECT_EQ(landing(CopiedKind::File, false, Present::Directory), Into);
    EXPECT_EQ(landing(CopiedKind::Directory, false, Present::Nothing, "x/"), As);
    EXPECT_EQ(landing(CopiedKind::Directory, true, Present::Nothing), As);
    EXPECT_EQ(landing(CopiedKind::Directory, false, Present::Directory), Into);
    EXPECT_EQ(landing(CopiedKind::Directory, true, Present::Directory), Contents);
    EXPECT_EQ(landing_of(CopiedKind::File, false, Present::Nothing, "x/").error().kind(), ErrorKind::NotFound);
    EXPECT_EQ(landing_of(CopiedKind::Directory, false, Present::File, "x").error().kind(), ErrorKind::Conflict);
}

TEST(CopyPlanTest, KnowsWhenContentsAreMeant)
{
    EXPECT_EQ(copy_source("/etc/").path, "/etc");
    EXPECT_FALSE(copy_source("/etc/").contents_only);
    EXPECT_EQ(copy_source("/etc/.").path, "/etc");
    EXPECT_TRUE(copy_source("/etc/.").contents_only);
    EXPECT_EQ(copy_source("/").path, "/");
    EXPECT_TRUE(copy_source("/").contents_only);
    EXPECT_EQ(copy_source("/../a/../b").path, "/b");
}

} // namespace
} // namespace coppice::cli
