#include "coppice/security/sha256.h"
#include "coppice/store/chunk_table.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    const std::string_view bytes{reinterpret_cast<const char*>(data), size};
    (void)store::ChunkTable::parse(bytes).has_value();
    // Behind the digest, too: with the right one, and the right root, which no fuzzer would guess.
    if (size < 104) return 0;
    std::string forged{bytes.substr(0, size - 32)};
    if ((size - 104) % 80 == 0) {
        security::MerkleTree tree;
        for (std::size_t at = 72; at + 80 <= forged.size(); at += 80)
            tree.add(std::string_view{forged}.substr(at, 32));
        forged.replace(32, 32, tree.root().raw());
    }
    forged += security::sha256(forged).raw();
    const auto table = store::ChunkTable::parse(forged);
    if (!table) return 0;
    COPPICE_CHECK(table->encode().bytes == forged); // one content, one form
    for (std::size_t i = 0; i < table->size(); ++i) {
        COPPICE_CHECK(table->offset(i + 1) - table->offset(i) == (*table)[i].plain_bytes);
        COPPICE_CHECK(table->find(table->offset(i)) == i);
        COPPICE_CHECK((*table)[i].plain_bytes <= store::kChunkMaxBytes);
    }
    return 0;
}
