#pragma once

#include "coppice/base/text.h"
#include "coppice/test/expect.h"
#include "coppice/vdisk/layer_reader.h"
#include "coppice/vdisk/layer_writer.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

namespace coppice::vdisk::test {

using coppice::test::value_of;

inline std::string sha256(std::string_view bytes)
{
    std::array<unsigned char, 32> digest{};
    EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
    std::string hex;
    for (const unsigned char byte : digest) {
        hex += "0123456789abcdef"[byte >> 4U];
        hex += "0123456789abcdef"[byte & 15U];
    }
    return hex;
}

class MemoryContent final : public OpenContent {
public:
    explicit MemoryContent(std::string bytes) : bytes_{std::move(bytes)} {}
    Result<> read(std::uint64_t offset, std::span<char> out) const override
    {
        if (offset > bytes_.size() || out.size() > bytes_.size() - offset)
            return fail(ErrorKind::Conflict, "too short");
        std::copy_n(bytes_.data() + offset, out.size(), out.data());
        return {};
    }

private:
    std::string bytes_;
};

class MemorySource final : public ContentSource {
public:
    std::uint64_t add(std::string bytes)
    {
        files_.push_back(std::move(bytes));
        return files_.size() - 1;
    }
    Result<std::unique_ptr<OpenContent>> open(std::uint64_t key, std::uint64_t) const override
    {
        return std::make_unique<MemoryContent>(files_.at(key));
    }

private:
    std::vector<std::string> files_;
};

/// A tree under construction, by paths; what is above must be there.
struct TestTree {
    Tree tree;
    std::shared_ptr<MemorySource> source = std::make_shared<MemorySource>();

    InodeId put(const std::string& path, InodeId inode)
    {
        const auto slash = path.rfind('/');
        const auto directory = tree.find_path(slash == std::string::npos ? "" : path.substr(0, slash));
        value_of(tree.link(directory.value(), path.substr(slash == std::string::npos ? 0 : slash + 1), inode));
        return inode;
    }
    InodeId add(const std::string& path, std::uint32_t mode, DeviceNumber device = {})
    {
        return put(path,
                   value_of(tree.add({.mode = mode, .uid = 1, .gid = 2, .mtime = {.seconds = 1'700'000'000}}, device)));
    }
    InodeId directory(const std::string& path) { return add(path, S_IFDIR | 0755); }
    InodeId file(const std::string& path, std::string content, std::uint32_t mode = 0644)
    {
        const InodeId inode = add(path, S_IFREG | mode);
        const std::uint64_t bytes = content.size();
        tree.set_content(inode, source, source->add(std::move(content)), bytes);
        return inode;
    }
    InodeId link(const std::string& path, const std::string& target)
    {
        const InodeId inode = add(path, S_IFLNK | 0777);
        value_of(tree.set_target(inode, target));
        return inode;
    }
};

struct WrittenLayer final : store::ChunkSink, ByteSink {
    std::string metadata, blob;
    std::vector<std::size_t> chunks; ///< sizes
    LayerSize size;

    Result<> put(std::string_view chunk) override
    {
        blob += chunk;
        chunks.push_back(chunk.size());
        return {};
    }
    Result<> write(std::string_view bytes) override
    {
        metadata += bytes;
        return {};
    }
    [[nodiscard]] Result<LayerReader> reader() const
    {
        return LayerReader::open(std::make_shared<MemoryContent>(metadata), metadata.size());
    }
    [[nodiscard]] Result<Tree> reread() const
    {
        return read_layer(std::make_shared<MemoryContent>(metadata), metadata.size(),
                          std::make_shared<MemoryContent>(blob));
    }
};

inline std::unique_ptr<WrittenLayer> write(Tree& tree)
{
    auto layer = std::make_unique<WrittenLayer>();
    layer->size = value_of(write_layer(tree, *layer, *layer));
    return layer;
}

inline std::string content_of(const Tree& tree, InodeId file)
{
    if (tree.size(file) == 0) return {};
    std::string bytes(tree.size(file), '\0');
    value_of(value_of(tree.open_content(file))->read(0, bytes));
    return bytes;
}

/// Everything that there is to a tree, as lines of text; inodes with several names show the first one.
inline std::map<std::string, std::string> describe(Tree& tree)
{
    tree.sort();
    std::map<std::string, std::string> lines;
    std::map<InodeId, std::string> first;
    const std::function<void(InodeId, const std::string&)> visit = [&](InodeId inode, const std::string& path) {
        const auto attributes = tree.attributes(inode);
        std::string line =
            cat(attributes.mode, " ", attributes.uid, ":", attributes.gid, " ", attributes.mtime.seconds, ".",
                attributes.mtime.nanoseconds, " ", tree.device(inode).major, ":", tree.device(inode).minor);
        for (const Xattr& xattr : tree.xattrs(inode))
            line += cat(" [", xattr.name, "=", sha256(xattr.value), "]");
        if (tree.is_link(inode)) line += cat(" -> ", tree.target(inode));
        if (tree.is_file(inode)) line += cat(" ", tree.size(inode), " ", sha256(content_of(tree, inode)));
        const auto [same, added] = first.emplace(inode, path);
        if (!added) line += cat(" = ", same->second);
        lines[path] = line;
        if (!tree.is_directory(inode)) return;
        for (const auto& entry : tree.entries(inode))
            visit(entry.inode, cat(path, "/", entry.name));
    };
    visit(Tree::root(), "");
    return lines;
}

/// Bytes that no compression or hole detection sees through, the same each time.
inline std::string noise(std::size_t bytes, std::uint64_t seed)
{
    std::string out(bytes, '\0');
    for (char& byte : out) {
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        byte = static_cast<char>(seed >> 56U);
    }
    return out;
}

/// One step of making a tree; each number is taken modulo what it chooses from.
using Op = std::tuple<std::uint8_t, std::uint16_t, std::uint16_t, std::uint32_t>;

inline TestTree make_tree(const std::vector<Op>& ops)
{
    constexpr std::array<std::uint32_t, 12> kSizes{0,     1,     4095,  4096,   4097,   61440,
                                                   61441, 65536, 65537, 262144, 262145, 540000};
    constexpr std::array<std::int64_t, 6> kTimes{0, -1, 1'700'000'000, INT64_MIN, INT64_MAX, 1LL << 35U};
    TestTree t;
    std::vector<InodeId> directories{Tree::root()}, others;
    for (const auto& [kind, where, name_number, value] : ops) {
        const InodeId directory = directories[where % directories.size()];
        std::string name = cat("-.!az\xffn"[name_number % 7], name_number);
        if (name_number % 5 == 0) name.resize(3 + value % 253, 'x');
        if (t.tree.find(directory, name)) continue;
        const Attributes attributes{.mode = value % 010000,
                                    .uid = value % 7 == 0 ? 4'000'000'000U : value,
                                    .gid = value % 65536,
                                    .mtime = {.seconds = kTimes[value % 6], .nanoseconds = value % 1'000'000'000}};
        const auto with = [&](std::uint32_t type, DeviceNumber device = {}) {
            Attributes all = attributes;
            all.mode |= type;
            if (all.uid == UINT32_MAX) all.uid = 0;
            return value_of(t.tree.add(all, device));
        };
        InodeId inode{};
        switch (kind % 8) {
        case 0: directories.push_back(inode = with(S_IFDIR)); break;
        case 1:
            inode = with(S_IFLNK);
            value_of(t.tree.set_target(inode, std::string(1 + value % 4095, 't')));
            break;
        case 2:
            inode = with(value % 2 == 0 ? S_IFCHR : S_IFBLK, {.major = value % 4096, .minor = value % (1U << 20U)});
            break;
        case 3: inode = with(value % 2 == 0 ? S_IFIFO : S_IFSOCK); break;
        case 4: inode = value_of(t.tree.add_whiteout()); break;
        case 5:
            if (others.empty()) continue;
            inode = others[value % others.size()]; // a hard link
            break;
        default: {
            inode = with(S_IFREG);
            const auto bytes = value % 3 == 0 ? kSizes[value % 12] : value % 20000;
            auto content = noise(bytes, value % 5);
            if (value % 4 == 0) std::fill(content.begin(), content.begin() + static_cast<long>(bytes / 2), '\0');
            t.tree.set_content(inode, t.source, t.source->add(std::move(content)), bytes);
        }
        }
        value_of(t.tree.link(directory, name, inode));
        if (!t.tree.is_directory(inode) && !t.tree.is_whiteout(inode)) others.push_back(inode);
        if (value % 3 == 1 && !t.tree.is_whiteout(inode)) {
            std::vector<Xattr> xattrs{{"security.test", "s"}};
            const bool user = t.tree.is_file(inode) || t.tree.is_directory(inode); // as the kernel has it
            if (user) xattrs.push_back({cat("user.", value % 4), noise(value % 5000, value)});
            if (t.tree.is_directory(inode)) xattrs.push_back({"trusted.overlay.opaque", "y"});
            value_of(t.tree.set_xattrs(inode, std::move(xattrs)));
        }
    }
    return t;
}

} // namespace coppice::vdisk::test
