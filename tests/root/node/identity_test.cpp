// Needs: root.
#include "identity.h"

#include "coppice/os/file.h"
#include "coppice/test/expect.h"
#include "coppice/test/needs.h"
#include "coppice/test/temp_dir.h"
#include "personal_files.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace coppice::node {
namespace {

namespace fs = std::filesystem;
using test::fails_as;
using test::succeeds;
using test::TempDir;
using test::value_of;
using Kind = security::SshKeyForm::Kind;

constexpr const char* kImageId = "0123456789abcdef0123456789abcdef\n";
constexpr const char* kSecret = "etc/ssh/ssh_host_ed25519_key";

struct stat status_of(const std::string& path)
{
    struct stat status{};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
}

mode_t mode_of(const std::string& path) { return status_of(path).st_mode & 07777; }

/// A root as an image has it, and the directory of an instance.
class IdentityTest : public testing::Test {
protected:
    void SetUp() override { COPPICE_NEEDS(Root); }

    static void fill(const TempDir& root)
    {
        root.write("etc/hostname", "image\n");
        root.write("etc/machine-id", kImageId);
        root.write("var/lib/dbus/machine-id", kImageId);
        root.write(kSecret, "secret of the image");
        root.write(std::string{kSecret} + ".pub", "ssh-ed25519 AAAA image");
        root.write("etc/ssh/ssh_host_ecdsa_key", "secret of the image");
        root.write("etc/ssh/ssh_host_ecdsa_key.pub", "ecdsa-sha2-nistp384 AAAA image");
    }
    Result<> give(const TempDir& root, const TempDir& home, const std::string& name = "box", std::uint32_t id = 0)
    {
        return give_identity(value_of(os::open_at(root.fd(), ".", O_RDONLY)), directory_of(home),
                             {.host_name = name, .root_id = id, .lasting = false}, keys_);
    }
    static os::Fd directory_of(const TempDir& home) { return value_of(os::open_at(home.fd(), ".", O_RDONLY)); }
    static std::vector<std::string> changed(const TempDir& home)
    {
        return value_of(personalised_files(directory_of(home)));
    }

    TempDir root_, home_;
    SshKeys keys_;
};

TEST_F(IdentityTest, EveryInstanceGetsItsOwn)
{
    fill(root_);
    root_.write("var/lib/systemd/random-seed", "seed");
    root_.write("var/lib/dhcp/dhclient.eth0.leases", "lease");
    root_.write("var/lib/dhcp/dhcpd.leases", "what a server gave");
    root_.write("etc/ssh/ssh_host_dsa_key", "old");
    const ::mode_t umask = ::umask(077);
    EXPECT_TRUE(succeeds(give(root_, home_)));
    ::umask(umask);

    EXPECT_EQ(root_.read("etc/hostname"), "box\n");
    const std::string id = root_.read("etc/machine-id");
    EXPECT_EQ(id.size(), 33U);
    EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), 32U);
    EXPECT_EQ(id[12], '4') << "a random UUID";
    EXPECT_NE(id, kImageId);
    EXPECT_EQ(root_.read("var/lib/dbus/machine-id"), id);
    EXPECT_TRUE(root_.read("etc/ssh/ssh_host_ecdsa_key.pub").starts_with("ecdsa-sha2-nistp384 "));
    EXPECT_TRUE(root_.read(std::string{kSecret} + ".pub").ends_with(" root@box\n"));
    EXPECT_TRUE(root_.read(kSecret).starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    for (const auto& [file, mode] : {std::pair{"etc/hostname", 0644U},
                                     {"etc/machine-id", 0444U},
                                     {kSecret, 0600U},
                                     {"etc/ssh/ssh_host_ed25519_key.pub", 0644U}})
        EXPECT_EQ(mode_of(root_ / file), mode) << file;
    for (const char* const gone : {"var/lib/systemd/random-seed", "var/lib/dhcp/dhclient.eth0.leases",
                                   "etc/ssh/ssh_host_dsa_key", "etc/ssh/ssh_host_rsa_key"})
        EXPECT_FALSE(root_.exists(gone)) << gone;
    EXPECT_TRUE(root_.exists("var/lib/dhcp/dhcpd.leases"));

    auto listed = changed(home_);
    EXPECT_EQ(listed.back(), "/etc/machine-id");
    std::sort(listed.begin(), listed.end());
    EXPECT_EQ(listed, (std::vector<std::string>{"/etc/hostname", "/etc/machine-id", "/etc/ssh/ssh_host_dsa_key",
                                                "/etc/ssh/ssh_host_ecdsa_key", "/etc/ssh/ssh_host_ecdsa_key.pub",
                                                "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub",
                                                "/var/lib/dbus/machine-id", "/var/lib/dhcp/dhclient.eth0.leases",
                                                "/var/lib/systemd/random-seed"}));
    EXPECT_EQ(mode_of(home_ / "identity.json"), 0600U);

    const TempDir second, other_home;
    fill(second);
    EXPECT_TRUE(succeeds(give(second, other_home)));
    EXPECT_NE(second.read("etc/machine-id"), id);
    EXPECT_NE(second.read(kSecret), root_.read(kSecret));
}

TEST_F(IdentityTest, ItStaysTheSameInARootThatWasUndone)
{
    fill(root_);
    EXPECT_TRUE(succeeds(give(root_, home_)));
    const auto id = root_.read("etc/machine-id"), secret = root_.read(kSecret);
    const TempDir again;
    fill(again);
    EXPECT_TRUE(succeeds(give(again, home_)));
    EXPECT_EQ(again.read("etc/machine-id"), id);
    EXPECT_EQ(again.read(kSecret), secret);
    // What was cut off before its end is finished, with the same.
    fill(again);
    again.write("etc/hostname", "box\n");
    again.write(kSecret, secret);
    EXPECT_TRUE(succeeds(give(again, home_)));
    EXPECT_EQ(again.read("etc/machine-id"), id);
    EXPECT_EQ(again.read("etc/ssh/ssh_host_ecdsa_key"), root_.read("etc/ssh/ssh_host_ecdsa_key"));
    // A key that only this root has.
    fill(again);
    again.write("etc/ssh/ssh_host_rsa_key", "secret of the image");
    EXPECT_TRUE(succeeds(give(again, home_)));
    EXPECT_EQ(again.read(kSecret), secret);
    EXPECT_TRUE(again.read("etc/ssh/ssh_host_rsa_key.pub").starts_with("ssh-rsa ")) << "made though it was not there";
}

TEST_F(IdentityTest, WhatTheInstanceChangesStays)
{
    fill(root_);
    EXPECT_TRUE(succeeds(give(root_, home_)));
    root_.write("etc/hostname", "renamed\n");
    root_.write(kSecret, "its own");
    root_.write("var/lib/systemd/random-seed", "its own");
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_EQ(root_.read("etc/hostname"), "renamed\n");
    EXPECT_EQ(root_.read(kSecret), "its own");
    EXPECT_EQ(root_.read("var/lib/systemd/random-seed"), "its own");
}

TEST_F(IdentityTest, WhatTheImageDoesNotHaveIsNotMade)
{
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_TRUE(fs::is_empty(root_.path()));
    EXPECT_TRUE(fs::is_empty(home_.path())) << "nothing to keep";
    EXPECT_TRUE(changed(home_).empty());
    root_.make_directory("etc");
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_EQ(root_.read("etc/hostname"), "box\n");
    EXPECT_EQ(std::distance(fs::directory_iterator{root_ / "etc"}, {}), 1);
    EXPECT_TRUE(succeeds(give(root_, home_, "other")));
    EXPECT_EQ(root_.read("etc/hostname"), "other\n") << "the mark is gone when it is the only one";
}

TEST_F(IdentityTest, AMachineIdThatIsNotSetIsSet)
{
    for (const char* const unset : {"", "uninitialized\n"}) {
        const TempDir root, home;
        root.write("etc/machine-id", unset);
        EXPECT_TRUE(succeeds(give(root, home)));
        EXPECT_EQ(root.read("etc/machine-id").size(), 33U);
    }
}

TEST_F(IdentityTest, LinksLeadNowhereElse)
{
    const TempDir outside;
    fill(outside);
    outside.write("var/lib/systemd/random-seed", "seed");
    const auto untouched = [&] {
        for (const char* const file : {"etc/machine-id", "var/lib/dbus/machine-id"})
            EXPECT_EQ(outside.read(file), kImageId) << file;
        EXPECT_EQ(outside.read("etc/hostname"), "image\n");
        EXPECT_EQ(outside.read(kSecret), "secret of the image");
        EXPECT_TRUE(outside.exists("var/lib/systemd/random-seed"));
    };
    const std::string up = "../../../../../../../../.." + outside.path();
    for (const std::string& way : {outside.path(), up}) {
        { // directories
            const TempDir root, home;
            root.make_directory("var/lib");
            fs::create_symlink(way + "/etc", root / "etc");
            fs::create_symlink(way + "/var/lib/dbus", root / "var/lib/dbus");
            fs::create_symlink(way + "/var/lib/systemd", root / "var/lib/systemd");
            EXPECT_TRUE(succeeds(give(root, home)));
            EXPECT_TRUE(changed(home).empty());
        }
        { // files
            const TempDir root, home;
            root.make_directory("etc/ssh");
            root.make_directory("var/lib/systemd");
            for (const char* const file : {"etc/machine-id", "etc/hostname", kSecret, "var/lib/systemd/random-seed"})
                fs::create_symlink(way + "/" + file, root / file);
            EXPECT_TRUE(succeeds(give(root, home)));
            EXPECT_TRUE(changed(home).empty());
            EXPECT_TRUE(fs::is_symlink(root / "etc/machine-id"));
        }
        { // the public half alone
            const TempDir root, home;
            root.write(kSecret, "secret of the image");
            fs::create_symlink(way + "/" + kSecret + ".pub", root / (std::string{kSecret} + ".pub"));
            EXPECT_TRUE(succeeds(give(root, home)));
            EXPECT_TRUE(fs::is_symlink(root / (std::string{kSecret} + ".pub")));
            EXPECT_NE(root.read(kSecret), "secret of the image");
        }
        untouched();
    }
    EXPECT_EQ(outside.read(std::string{kSecret} + ".pub"), "ssh-ed25519 AAAA image");
}

TEST_F(IdentityTest, LinksInsideAreDirectories)
{
    root_.write("real/machine-id", kImageId);
    root_.write("usr/ssh/ssh_host_ed25519_key", "secret of the image");
    fs::create_symlink("/real", root_ / "etc"); // absolute: from the root's root
    fs::create_symlink("../usr/ssh", root_ / "real/ssh");
    root_.make_directory("var");
    fs::create_symlink("lib", root_ / "var/lib"); // leads to itself
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_NE(root_.read("real/machine-id"), kImageId);
    EXPECT_NE(root_.read("usr/ssh/ssh_host_ed25519_key"), "secret of the image");
}

TEST_F(IdentityTest, WhatIsNoFileIsLeft)
{
    for (const char* const directory :
         {"etc/ssh", "etc/hostname", "var/lib/systemd/random-seed", "var/lib/dbus", "etc/ssh/ssh_host_rsa_key"})
        root_.make_directory(directory);
    root_.write("var/lib/NetworkManager", "no directory");
    root_.write(kSecret, "secret of the image");
    for (const char* const fifo : {"etc/machine-id", "etc/ssh/ssh_host_ecdsa_key", "etc/ssh/ssh_host_ed25519_key.pub"})
        ASSERT_EQ(::mkfifo((root_ / fifo).c_str(), 0600), 0);
    ASSERT_EQ(::mknod((root_ / "var/lib/dbus/machine-id").c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_EQ(changed(home_), std::vector<std::string>{"/etc/ssh/ssh_host_ed25519_key"});
    EXPECT_TRUE(fs::is_fifo(root_ / "etc/machine-id"));
    EXPECT_TRUE(fs::is_fifo(root_ / "etc/ssh/ssh_host_ed25519_key.pub"));
    EXPECT_TRUE(fs::is_character_file(root_ / "var/lib/dbus/machine-id"));
    EXPECT_TRUE(fs::is_directory(root_ / "var/lib/systemd/random-seed"));
}

TEST_F(IdentityTest, OtherNamesOfAFileKeepWhatTheyHad)
{
    fill(root_);
    const TempDir elsewhere;
    for (const char* const file : {"etc/machine-id", kSecret, "etc/hostname"})
        fs::create_hard_link(root_ / file, elsewhere / fs::path{file}.filename().string());
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_EQ(elsewhere.read("machine-id"), kImageId);
    EXPECT_EQ(elsewhere.read("ssh_host_ed25519_key"), "secret of the image");
    EXPECT_EQ(elsewhere.read("hostname"), "image\n");
}

TEST_F(IdentityTest, SizesAndNumbersAreBounded)
{
    fill(root_);
    constexpr off_t kHuge = 64LL << 20; // of holes
    for (const char* const file : {"etc/machine-id", "etc/hostname", "etc/ssh/ssh_host_ecdsa_key.pub"})
        ASSERT_EQ(::truncate((root_ / file).c_str(), kHuge), 0);
    for (int i = 0; i < 500; ++i)
        root_.write("var/lib/dhcp/dhclient." + std::to_string(i) + ".leases", "x");
    root_.write("var/lib/dhcp/dhclient.\xFF\n.leases", "x");
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_EQ(root_.read("etc/machine-id").size(), 33U);
    EXPECT_TRUE(root_.read("etc/ssh/ssh_host_ecdsa_key.pub").starts_with("ecdsa-sha2-nistp256 ")) << "the usual one";
    EXPECT_LT(changed(home_).size(), 100U);
    ASSERT_EQ(::truncate((root_ / "etc/machine-id").c_str(), kHuge), 0); // the mark
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_EQ(root_.read("etc/machine-id").size(), 33U);
}

TEST_F(IdentityTest, FilesAreOfTheInstancesRoot)
{
    fill(root_);
    constexpr std::uint32_t kFirst = 0x4001'0000;
    EXPECT_TRUE(succeeds(give(root_, home_, "box", kFirst)));
    for (const char* const file : {"etc/hostname", "etc/machine-id", kSecret}) {
        EXPECT_EQ(status_of(root_ / file).st_uid, kFirst) << file;
        EXPECT_EQ(status_of(root_ / file).st_gid, kFirst) << file;
    }
    EXPECT_EQ(status_of(home_ / "identity.json").st_uid, 0U) << "what is kept is the host's";
    root_.write("afterwards", "");
    EXPECT_EQ(status_of(root_ / "afterwards").st_uid, 0U) << "and so is this thread again";
}

TEST_F(IdentityTest, WhatIsKeptMayBeDamaged)
{
    fill(root_);
    for (const char* const text : {"{", "[]", R"({"files": 1})", R"({"files": {"/etc/machine-id": 1}})"}) {
        home_.write("identity.json", text);
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "identity.json", give(root_, home_))) << text;
        EXPECT_EQ(root_.read("etc/machine-id"), kImageId) << text;
    }
    home_.write("identity.json", ""); // what a power cut leaves
    EXPECT_TRUE(succeeds(give(root_, home_)));
    EXPECT_NE(root_.read("etc/machine-id"), kImageId);
}

TEST_F(IdentityTest, NamesOfAnyKindAreHostNames)
{
    fill(root_);
    EXPECT_TRUE(succeeds(give(root_, home_, "caf\xC3\n\"")));
    EXPECT_EQ(root_.read("etc/hostname"), "caf\xC3\n\"\n");
    const auto line = root_.read(std::string{kSecret} + ".pub");
    EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
    EXPECT_EQ(changed(home_).back(), "/etc/machine-id");
}

TEST(SshKeysTest, ThoseMadeAheadAreGivenOnce)
{
    std::string before;
    SshKeys keys;
    for (int i = 0; i < 5; ++i) {
        const auto line = keys.take({.kind = Kind::Rsa, .bits = 2048}).public_text("c");
        EXPECT_EQ(security::find_ssh_form(line), (security::SshKeyForm{.kind = Kind::Rsa, .bits = 2048}));
        EXPECT_NE(line, before);
        before = line;
    }
}

} // namespace
} // namespace coppice::node
