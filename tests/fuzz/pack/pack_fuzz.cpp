#include "coppice/security/sha256.h"
#include "coppice/store/pack.h"

#include <vector>

// The input is a pack in which the checks of headers are wrong; the target puts them right as far as the chain goes, so
// that what is behind them is reached.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace coppice;
    constexpr std::uint64_t kNumber = 7;
    std::string file{reinterpret_cast<const char*>(data), size};
    if (size >= store::kPackHeaderBytes && data[0] != 'x') {
        const auto header = store::encode_pack_header(kNumber);
        file.replace(0, header.size(), header.data(), header.size());
        for (std::size_t at = header.size(); at + store::kChunkHeaderBytes <= file.size();) {
            file.replace(at, 4, "CHNK");
            std::string place(16, '\0');
            place[0] = kNumber;
            for (std::size_t i = 0; i < 8; ++i)
                place[8 + i] = static_cast<char>(at >> (8 * i));
            const auto check = security::sha256(std::string_view{file}.substr(at, 80), place);
            file.replace(at + 80, 16, check.raw().substr(0, 16));
            const auto chunk =
                store::parse_chunk_header(std::string_view{file}.substr(at, store::kChunkHeaderBytes), kNumber, at);
            if (!chunk) break;
            COPPICE_CHECK(store::check_chunk(*chunk));
            at += store::kChunkHeaderBytes + chunk->stored_bytes;
        }
    }
    std::uint64_t end = store::kPackHeaderBytes;
    std::vector<char> plain(store::kChunkMaxBytes);
    const auto scanned = store::scan_pack(
        kNumber,
        [&](std::uint64_t offset, std::size_t wanted, std::string& out) -> Result<> {
            COPPICE_CHECK(wanted <= store::kChunkMaxBytes); // no allocation by what a header says
            out = offset < file.size() ? file.substr(offset, wanted) : "";
            return {};
        },
        [&](const store::ScannedChunk& one) -> Result<> {
            COPPICE_CHECK(one.offset == end + store::kChunkHeaderBytes);
            end = one.offset + one.chunk.stored_bytes;
            COPPICE_CHECK(end <= file.size());
            (void)store::unpack_chunk(one.chunk, std::string_view{file}.substr(one.offset, one.chunk.stored_bytes),
                                      plain.data())
                .has_value();
            return {};
        });
    if (scanned) COPPICE_CHECK(*scanned == end);
    return 0;
}
