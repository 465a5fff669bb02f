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

struct WrittenLayer final : ChunkSink, ByteSink {
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

} // namespace coppice::vdisk::test
