#include "../memory_stream.h"
#include "coppice/base/error.h"
#include "tree_builder.h"

// An archive, as a tree and as a layer over itself. Whatever it says: no more memory than the limits allow, an end, and
// a tree whose files are within their limits.

namespace {

using namespace coppice;
using namespace coppice::imports;

/// Reads everything, keeps nothing.
class Nowhere final : public Contents {
public:
    Result<Place> take(const TarEntry& entry, TarReader& reader) override
    {
        std::string buffer(4096, '\0');
        std::uint64_t all = 0;
        while (const std::size_t got = TRY(reader.read(buffer)))
            all += got;
        COPPICE_CHECK(all <= entry.size || entry.sparse);
        return Place{nullptr, 0};
    }
};

void feed(std::string_view bytes, TreeBuilder::Form form, int layers)
{
    const Limits limits{.entries = 1000, .logical_bytes = 1 << 20, .depth = 16, .header_bytes = 1 << 16};
    TreeBuilder builder{limits, form};
    for (int i = 0; i < layers; ++i) {
        if (form == TreeBuilder::Form::Layers && !builder.begin_layer()) return;
        MemoryStream memory{bytes};
        TarReader reader{memory, limits, TarReader::End::Any};
        Nowhere contents;
        for (;;) {
            const auto entry = reader.next();
            if (!entry || !*entry) break;
            if (!builder.add(**entry, reader, contents)) break;
        }
    }
    auto tree = std::move(builder).take_tree();
    tree.sort();
    std::uint64_t logical_bytes = 0;
    for (std::size_t i = 0; i < tree.inode_count(); ++i)
        if (const auto inode = static_cast<vdisk::InodeId>(i); tree.is_file(inode)) logical_bytes += tree.size(inode);
    COPPICE_CHECK(logical_bytes <= limits.logical_bytes);
    for (const auto& entry : tree.entries(vdisk::Tree::root()))
        COPPICE_CHECK(entry.name != ".." && entry.name.find('/') == std::string_view::npos);
}

/// With right checksums, which no fuzzer guesses.
std::string repaired(std::string_view bytes)
{
    std::string all{bytes};
    for (std::size_t at = 0; at + kTarBlockBytes <= all.size(); at += kTarBlockBytes) {
        if (all.compare(at + 257, 5, "ustar") != 0) continue;
        all.replace(at + 148, 8, "        ");
        unsigned sum = 0;
        for (std::size_t i = 0; i < kTarBlockBytes; ++i)
            sum += static_cast<unsigned char>(all[at + i]);
        for (std::size_t i = 6; i-- > 0; sum >>= 3U)
            all[at + 148 + i] = static_cast<char>('0' + (sum & 7U));
    }
    return all;
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size)
{
    const std::string_view bytes{reinterpret_cast<const char*>(data), size};
    feed(bytes, TreeBuilder::Form::Plain, 1);
    feed(bytes, TreeBuilder::Form::Layers, 2);
    const auto archive = repaired(bytes);
    feed(archive, TreeBuilder::Form::Plain, 1);
    feed(archive, TreeBuilder::Form::Layers, 2);
    return 0;
}
