#include "coppice/security/ssh_key.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <array>
#include <cstdlib>
#include <set>
#include <sys/stat.h>

namespace coppice::security {
namespace {

using test::TempDir;
using Kind = SshKeyForm::Kind;

constexpr std::array<SshKeyForm, 6> kForms{{{.kind = Kind::Ed25519, .bits = 256},
                                            {.kind = Kind::Ecdsa, .bits = 256},
                                            {.kind = Kind::Ecdsa, .bits = 384},
                                            {.kind = Kind::Ecdsa, .bits = 521},
                                            {.kind = Kind::Rsa, .bits = 2048},
                                            {.kind = Kind::Rsa, .bits = 3072}}};

/// A shell in the directory; its words end in the file "out".
bool succeeds_in(const TempDir& directory, const std::string& script)
{
    return std::system(("cd " + directory.path() + " && { " + script + "; } > out 2>&1 < /dev/null").c_str()) == 0;
}

void write_pair(const TempDir& directory, const SshKey& key)
{
    directory.write("key", key.secret_text("root@box"));
    directory.write("key.pub", key.public_text("root@box"));
    ASSERT_EQ(::chmod((directory / "key").c_str(), 0600), 0);
}

bool has_ssh_keygen() { return std::system("command -v ssh-keygen > /dev/null") == 0; }

TEST(SshKeyTest, OpenSshReadsThem)
{
    if (!has_ssh_keygen()) GTEST_SKIP() << "no ssh-keygen";
    for (const SshKeyForm& form : kForms) {
        const TempDir directory;
        write_pair(directory, SshKey::make(form));
        // What it makes of the secret half is what we say the public one is, comment and all.
        EXPECT_TRUE(succeeds_in(directory, "ssh-keygen -y -P '' -f key > again && cmp again key.pub"))
            << directory.read("out");
        EXPECT_TRUE(succeeds_in(directory, "ssh-keygen -l -f key")) << directory.read("out");
        EXPECT_EQ(directory.read("out").substr(0, directory.read("out").find(' ')), std::to_string(form.bits));
        EXPECT_NE(directory.read("out").find("root@box"), std::string::npos);
        // With the secret half it signs, with the public one it verifies.
        EXPECT_TRUE(succeeds_in(directory, "printf 'box ' | cat - key.pub > allowed && echo message > m && "
                                           "ssh-keygen -Y sign -n test -f key m && "
                                           "ssh-keygen -Y verify -n test -f allowed -I box -s m.sig < m"))
            << directory.read("out");
        EXPECT_EQ(find_ssh_form(directory.read("key.pub")), form);
    }
}

TEST(SshKeyTest, FormsOfOpenSshAreKnown)
{
    if (!has_ssh_keygen()) GTEST_SKIP() << "no ssh-keygen";
    const auto form_of = [](const std::string& options) {
        const TempDir directory;
        EXPECT_TRUE(succeeds_in(directory, "ssh-keygen -q -N '' -f key " + options)) << directory.read("out");
        return find_ssh_form(directory.read("key.pub"));
    };
    EXPECT_EQ(form_of("-t ed25519 -C ''"), (SshKeyForm{.kind = Kind::Ed25519, .bits = 256}));
    EXPECT_EQ(form_of("-t ecdsa -b 384"), (SshKeyForm{.kind = Kind::Ecdsa, .bits = 384}));
    EXPECT_EQ(form_of("-t rsa -b 2048 -C ''"), (SshKeyForm{.kind = Kind::Rsa, .bits = 2048}));
    EXPECT_EQ(form_of("-t rsa -b 1024"), (SshKeyForm{.kind = Kind::Rsa, .bits = 2048})) << "too small to be used";
    EXPECT_EQ(form_of("-t rsa -b 2056"), (SshKeyForm{.kind = Kind::Rsa, .bits = 3072}));
}

TEST(SshKeyTest, WhatIsNoPublicKeyHasNoForm)
{
    for (const char* const text : {"", " ", "\n", "ssh-ed25519", "ssh-dss AAAA", "ssh-rsa ?", "ecdsa-sha2-nistp224 A",
                                   "ssh-rsa", "\nssh-ed25519 AAAA"})
        EXPECT_EQ(find_ssh_form(text), std::nullopt) << text;
    // Lengths that lead nowhere: it says that it is RSA, so it gets the smallest.
    constexpr SshKeyForm kSmallest{.kind = Kind::Rsa, .bits = 2048};
    for (const char* const text : {"ssh-rsa /////w==", "ssh-rsa AAAAB3NzaC1yc2H/////", "ssh-rsa AAAAAAAAAAD/////"})
        EXPECT_EQ(find_ssh_form(text), kSmallest) << text;
    // One of 64 KiB costs no more than the largest.
    const std::string huge = "ssh-rsa AAAAAAAAAAAAAPwA" + std::string(64'512 / 3 * 4, '/');
    EXPECT_EQ(find_ssh_form(huge), (SshKeyForm{.kind = Kind::Rsa, .bits = 4096}));
}

TEST(SshKeyTest, EachIsAnother)
{
    for (const SshKeyForm& form : kForms) {
        if (form.kind == Kind::Rsa && form.bits > 2048) continue;
        std::set<std::string> seen;
        for (int i = 0; i < 2; ++i)
            seen.insert(SshKey::make(form).public_text("c"));
        EXPECT_EQ(seen.size(), 2U);
    }
}

TEST(SshKeyTest, MakingOneCanBeStopped)
{
    int asked = 0;
    EXPECT_FALSE(SshKey::make({.kind = Kind::Rsa, .bits = 4096}, [&] { return ++asked < 3; }).has_value());
    EXPECT_GE(asked, 3);
}

} // namespace
} // namespace coppice::security
