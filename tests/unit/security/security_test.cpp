#include "coppice/security/base64.h"
#include "coppice/security/dsse.h"
#include "coppice/security/merkle.h"
#include "coppice/security/sha256.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"

#include <sys/stat.h>

namespace coppice::security {
namespace {

using test::fails_as;
using test::succeeds;
using test::TempDir;
using test::value_of;

constexpr const char* kSeed =
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"; // RFC 8032, 7.1, test 1
constexpr const char* kType = "http://example.com/HelloWorld";

SigningKey known_key()
{
    std::array<unsigned char, 32> seed{};
    value_of(from_hex(kSeed, seed.data(), seed.size()));
    return value_of(SigningKey::from_seed({reinterpret_cast<const char*>(seed.data()), seed.size()}));
}

TEST(Sha256Test, KnownMessages)
{
    // FIPS 180-2, appendix B
    EXPECT_EQ(sha256(std::string_view{"abc"}).hex(),
              "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(sha256().hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    Sha256 hash;
    for (int i = 0; i < 1000; ++i)
        hash.update(std::string(1000, 'a'));
    EXPECT_EQ(hash.finish().hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    hash.update("abc"); // ready for the next one
    EXPECT_EQ(hash.finish(), sha256(std::string_view{"ab"}, std::string_view{"c"}));
}

TEST(NameTest, HexBothWays)
{
    const auto digest = sha256(std::string_view{"abc"});
    EXPECT_EQ(value_of(Sha256Digest::parse(digest.hex())), digest);
    for (const std::string& bad :
         {std::string{}, digest.hex().substr(1), digest.hex() + "0", std::string(64, 'A'), std::string(64, 'g')})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "hex digits", Sha256Digest::parse(bad))) << bad;
    EXPECT_NE(make_random<KeyId>(), make_random<KeyId>());
    static_assert(!std::is_convertible_v<KeyId, MerkleRoot>);
    static_assert(sizeof(KeyId) == 32 && std::is_trivially_copyable_v<KeyId>);
}

TEST(MerkleTest, Vectors) // docs/format/chunk-table.md
{
    const auto root_of = [](int count) {
        MerkleTree tree;
        for (int i = 1; i <= count; ++i)
            tree.add(std::string(32, static_cast<char>(i)));
        return tree.root().hex();
    };
    EXPECT_EQ(root_of(0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(root_of(1), "f8e0851762ce3b341766bf3f78f4af6b85991dd5b957e4a8a979592f9e369e0a");
    EXPECT_EQ(root_of(2), "23430a5d38dbdd5c4b530448bec83cba60f6814647da38e11542bb523428e3cc");
    EXPECT_EQ(root_of(3), "2f958048602ec097e8b1ae52e3dfe53f67351aa97cfe9728218e29382c8bb70d");
    EXPECT_EQ(root_of(5), "ceb1189f84c86de5fa9acf2d663849dd04df8ce7e59ac7704ba88e48e3420062");
}

TEST(MerkleTest, OrderMatters)
{
    MerkleTree one, other;
    for (const char c : {'a', 'b', 'c'})
        one.add(std::string(32, c));
    for (const char c : {'b', 'a', 'c'})
        other.add(std::string(32, c));
    EXPECT_NE(one.root(), other.root());
}

TEST(Base64Test, OnlyTheCanonicalForm)
{
    for (const std::string& data : {std::string{}, std::string{"f"}, std::string{"12"}, std::string{"foo"},
                                    std::string{"foob"}, std::string(1000, '\xff'), std::string("\0\0\0", 3)})
        EXPECT_EQ(value_of(decode_base64(encode_base64(data))), data);
    EXPECT_EQ(encode_base64("foob"), "Zm9vYg==");
    for (const char* const bad :
         {"Zm9", "Zm9vYg=", "Zm9vYh==", " Zm9vYg=", "Zm9vYg==\n", "====", "Zm=v", "Zm9vYg==Zm9v", "Zm9-"})
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "base64", decode_base64(bad))) << bad;
}

TEST(SigningTest, Rfc8032)
{
    const auto key = known_key();
    EXPECT_EQ(key.public_key().hex(), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    EXPECT_EQ(key.sign("").hex(),
              "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
              "d25bf5f0595bbe24655141438e7a100b");
    EXPECT_EQ(key.public_key().id().hex(), "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9");
}

TEST(SigningTest, OnlyTheVeryMessage)
{
    const auto key = SigningKey::make();
    auto signature = key.sign("message");
    EXPECT_TRUE(key.public_key().verify("message", signature));
    EXPECT_FALSE(key.public_key().verify("messagf", signature));
    EXPECT_FALSE(SigningKey::make().public_key().verify("message", signature));
    signature.bytes[5] ^= 1;
    EXPECT_FALSE(key.public_key().verify("message", signature));
}

TEST(KeyFileTest, SavedAndLoaded)
{
    const TempDir directory;
    const auto key = SigningKey::make();
    ASSERT_TRUE(succeeds(key.save(directory.fd(), "node")));
    struct stat status{};
    ASSERT_EQ(::stat((directory / "node.key").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0600U);
    EXPECT_EQ(value_of(SigningKey::load(directory.fd(), "node")).public_key(), key.public_key());
    EXPECT_TRUE(fails_as(ErrorKind::Conflict, "exists", SigningKey::make().save(directory.fd(), "node")));
}

TEST(KeyFileTest, WideModesRefused)
{
    const TempDir directory;
    ASSERT_TRUE(succeeds(SigningKey::make().save(directory.fd(), "node")));
    for (const mode_t mode : {0640U, 0604U, 0620U, 0601U}) {
        ASSERT_EQ(::chmod((directory / "node.key").c_str(), mode), 0);
        EXPECT_TRUE(fails_as(ErrorKind::Denied, "others", SigningKey::load(directory.fd(), "node")));
    }
}

TEST(KeyFileTest, DamageRefused)
{
    const TempDir directory;
    ASSERT_TRUE(succeeds(known_key().save(directory.fd(), "node")));
    const std::string content = directory.read("node.key");
    EXPECT_EQ(content, std::string{kSeed} + "\n");
    const auto load = [&] { return SigningKey::load(directory.fd(), "node"); };
    for (const std::string& bad : {content.substr(1), content + "\n", "zz" + content.substr(2)}) {
        directory.write("node.key", bad);
        EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "not a key", load()));
    }
    directory.write("node.key", "00" + content.substr(2));
    EXPECT_TRUE(fails_as(ErrorKind::Corrupt, "not the public key", load()));
    ASSERT_EQ(::unlink((directory / "node.key").c_str()), 0);
    EXPECT_TRUE(fails_as(ErrorKind::NotFound, "node.key", load()));
    ASSERT_EQ(::symlink("node.pub", (directory / "node.key").c_str()), 0);
    EXPECT_FALSE(load());
}

TEST(DsseTest, Vectors) // docs/format/manifest.md
{
    EXPECT_EQ(pre_authentication(kType, "hello world"), "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    const auto key = known_key();
    EXPECT_EQ(key.sign(pre_authentication(kType, "hello world")).hex(),
              "e031d7dd99f8aa904abc48fb99a13c3bdbbd6e35c49cf2cb9f25d5509d8f5c947c0d22dc2f7403a45bdf24e8f7a41fd23c7b25e8"
              "98386e8c"
              "6c31be8abee60007");
    const std::vector trusted{key.public_key()};
    const auto opened = value_of(open_document(value_of(seal_document(kType, "hello world", key)), kType, trusted));
    EXPECT_EQ(opened.payload, "hello world");
    EXPECT_EQ(opened.digest.hex(), "217751fac2c4f14edb2c9297fbc34abcb016ba88e74757e875ec4ac16fb6b6a1");
    EXPECT_EQ(opened.signer, key.public_key().id());
}

TEST(DsseTest, ForgeriesRefused)
{
    const auto key = SigningKey::make(), other = SigningKey::make();
    const std::vector trusted{key.public_key()};
    const auto good = value_of(seal_document("t/1", "payload", key));
    const auto open = [&](const std::string& text) { return open_document(text, "t/1", trusted); };
    const auto replaced = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        const auto at = text.find(from);
        EXPECT_NE(at, std::string::npos);
        return text.replace(at, from.size(), to);
    };
    ASSERT_TRUE(succeeds(open(good)));
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "of type t/1", open_document(good, "t/2", trusted)));
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "of type t/2", open(replaced("t/1", "t/2"))));
    // The same signature under another type
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "no trusted key", open_document(replaced("t/1", "t/2"), "t/2", trusted)));
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "no trusted key",
                         open(replaced(encode_base64("payload"), encode_base64("Payload")))));
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "no trusted key", open(value_of(seal_document("t/1", "payload", other)))));
    // Another's signature under the trusted key's id
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "no trusted key",
                         open(replaced(encode_base64(key.sign(pre_authentication("t/1", "payload")).raw()),
                                       encode_base64(other.sign(pre_authentication("t/1", "payload")).raw())))));
    EXPECT_TRUE(fails_as(ErrorKind::Denied, "no trusted key", open_document(good, "t/1", {})));
}

TEST(DsseTest, FormIsStrict)
{
    const auto key = SigningKey::make();
    const std::vector trusted{key.public_key()};
    const auto good = value_of(seal_document("t/1", "payload", key));
    for (const auto& [from, to] : {std::pair<const char*, const char*>{"{\"payload\"", "{\"more\":1,\"payload\""},
                                   {"{\"payload\"", "{\"payload\":\"\",\"payload\""},
                                   {"\"payload\":", "\"Payload\":"},
                                   {"\"signatures\":[", "\"signatures\":[1,"},
                                   {"\"sig\":\"", "\"sig\":\"AAAA"},
                                   {"\"keyid\"", "\"x\":1,\"keyid\""},
                                   {"==\"", "\""}}) {
        std::string text = good;
        const auto at = text.find(from);
        ASSERT_NE(at, std::string::npos) << from;
        text.replace(at, std::strlen(from), to);
        EXPECT_TRUE(fails_as(ErrorKind::Invalid, "signed document", open_document(text, "t/1", trusted))) << text;
    }
    EXPECT_TRUE(fails_as(ErrorKind::Invalid, "at least one",
                         open_document(R"({"payload":"","payloadType":"t/1","signatures":[]})", "t/1", trusted)));
    EXPECT_TRUE(
        fails_as(ErrorKind::Invalid, "larger", open_document(std::string(kEnvelopeMaxBytes + 1, ' '), "t/1", trusted)));
    EXPECT_TRUE(
        fails_as(ErrorKind::Invalid, "larger", seal_document("t/1", std::string(kPayloadMaxBytes + 1, 'x'), key)));
}

} // namespace
} // namespace coppice::security
