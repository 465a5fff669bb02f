#include "accounts.h"

#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <filesystem>
#include <sys/stat.h>

namespace coppice::runtime {
namespace {

using test::fails_as;
using test::value_of;

class AccountsTest : public testing::Test {
protected:
    AccountsTest()
    {
        root_.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                                  "# a comment\n"
                                  "broken line\n"
                                  "half:x:notanumber:5::/:/bin/sh\n"
                                  "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
                                  "web:x:1000:1001:Web:/home/web:/bin/sh\n"
                                  "odd:x:1002:1002::relative:/bin/sh\n"
                                  "huge:x:4294967295:0::/:/bin/sh\n"
                                  "-1:x:7:7::/:/bin/sh\n"
                                  "last:x:2000:2000::/home/last:/bin/sh"); // no line end
        root_.write("etc/group",
                    "root:x:0:\nweb:x:1001:web\nadm:x:4:daemon,web\naudio:x:29:pulse,web,other\nwebby:x:30:webx\n");
    }
    test::TempDir root_;
    Accounts accounts_{root_.fd()};
};

TEST_F(AccountsTest, NamesAreLookedUpWithTheirGroups)
{
    const auto web = value_of(accounts_.find_user("web"));
    EXPECT_EQ(web.uid, 1000U);
    EXPECT_EQ(web.gid, 1001U);
    EXPECT_EQ(web.additional_gids, (std::vector<gid_t>{4, 29})); // its own group is not repeated
    EXPECT_EQ(value_of(accounts_.find_user("last")).uid, 2000U);
}

TEST_F(AccountsTest, NumbersNeedNotBeListed)
{
    const auto listed = value_of(accounts_.find_user("1000"));
    EXPECT_EQ(listed.uid, 1000U);
    EXPECT_EQ(listed.gid, 1001U);
    EXPECT_EQ(listed.additional_gids, (std::vector<gid_t>{4, 29}));
    const auto unlisted = value_of(accounts_.find_user("3000"));
    EXPECT_EQ(unlisted.uid, 3000U);
    EXPECT_EQ(unlisted.gid, 0U);
    EXPECT_TRUE(unlisted.additional_gids.empty());
}

TEST_F(AccountsTest, GroupsGiven)
{
    const auto numbers = value_of(accounts_.find_user("1000:1000"));
    EXPECT_EQ(numbers.uid, 1000U);
    EXPECT_EQ(numbers.gid, 1000U);
    EXPECT_TRUE(numbers.additional_gids.empty()) << "a given group replaces them";
    EXPECT_EQ(value_of(accounts_.find_user("web:adm")).gid, 4U);
    EXPECT_EQ(value_of(accounts_.find_user("3000:audio")).gid, 29U);
    EXPECT_EQ(value_of(accounts_.find_user("web:77")).gid, 77U);
}

TEST_F(AccountsTest, NeverRootByMistake) // CVE-2026-30892
{
    for (const char* const text : {"", ":", ":0", "0:", "99999999999", "4294967295", "4294967296",
                                   "18446744073709551616", "1000:99999999999", "1000:4294967295", "web:", ":web"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "", accounts_.find_user(text))) << text;
    for (const char* const text : {"1x", "x1", " 0", "0 ", "+0", "0x0", "huge", "half", "broken line", "# a comment",
                                   "nobody", "1000:-1", "1000:nogroup", "web:1x", "1.0", "root "})
        EXPECT_TRUE(fails_as(ErrorKind::NotFound, "there is no", accounts_.find_user(text))) << text;
}

TEST_F(AccountsTest, AMinusSignIsANameNotANumber)
{
    EXPECT_EQ(value_of(accounts_.find_user("-1")).uid, 7U); // listed above, as a name
    root_.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "'-1'", accounts_.find_user("-1")));
}

TEST_F(AccountsTest, Homes)
{
    EXPECT_EQ(accounts_.home_of(1000), "/home/web");
    EXPECT_EQ(accounts_.home_of(0), "/root");
    EXPECT_EQ(accounts_.home_of(1002), "/"); // a relative one is none
    EXPECT_EQ(accounts_.home_of(3000), "/");
}

TEST_F(AccountsTest, WithoutFilesOnlyNumbersWork)
{
    std::filesystem::remove_all(root_ / "etc");
    EXPECT_EQ(value_of(accounts_.find_user("5")).uid, 5U);
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "", accounts_.find_user("root")));
    EXPECT_EQ(accounts_.home_of(0), "/");
}

TEST_F(AccountsTest, ALinkDoesNotLeadOutOfTheRoot)
{
    const test::TempDir host;
    host.write("passwd", "victim:x:0:0::/:/bin/sh\n");
    std::filesystem::remove(root_ / "etc/passwd");
    std::filesystem::create_symlink(host / "passwd", root_ / "etc/passwd");
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "", accounts_.find_user("victim")));
    std::filesystem::remove(root_ / "etc/passwd");
    std::filesystem::create_symlink("../../../../.." + (host / "passwd"), root_ / "etc/passwd");
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "", accounts_.find_user("victim")));
    // Inside the root an absolute link counts from there.
    std::filesystem::remove(root_ / "etc/passwd");
    root_.write("inside", "inner:x:9:9::/:/bin/sh\n");
    std::filesystem::create_symlink("/inside", root_ / "etc/passwd");
    EXPECT_EQ(value_of(accounts_.find_user("inner")).uid, 9U);
}

TEST_F(AccountsTest, AFifoDoesNotBlock)
{
    std::filesystem::remove(root_ / "etc/passwd");
    ASSERT_EQ(::mkfifo((root_ / "etc/passwd").c_str(), 0644), 0);
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "", accounts_.find_user("web")));
}

} // namespace
} // namespace coppice::runtime
