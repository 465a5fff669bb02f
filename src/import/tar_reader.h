#pragma once

#include "byte_stream.h"
#include "pax.h"

namespace coppice::imports {

/// What an archive says of one name.
struct TarEntry {
    enum class Kind : unsigned char { Inode, HardLink };
    Kind kind = Kind::Inode;
    std::string path, target; ///< as the archive has them
    vdisk::Attributes attributes;
    vdisk::DeviceNumber device;
    std::vector<vdisk::Xattr> xattrs;
    std::uint64_t size = 0;   ///< of the file
    std::uint64_t stored = 0; ///< of it in the archive
    bool sparse = false;
    std::vector<DataPart> parts; ///< of a sparse file
};

/// Reads a tar archive: V7, ustar, pax, GNU. Bounded: all headers of an entry together are at most Limits::header_bytes
/// long, and so are all of an archive's global ones; the map of a sparse file has at most 2^20 parts (16 MiB). Input is
/// hostile. Errors: Corrupt, Unsupported (multi-volume), Unavailable (limits); each names the entry. Blocks. One
/// thread.
class TarReader {
public:
    enum class End : unsigned char {
        Marked, ///< without its end mark it was cut short
        Any,    ///< its length is known to be right
    };
    /// @param input borrowed
    TarReader(ByteStream& input, const Limits& limits, End end) : input_{&input}, limits_{limits}, end_{end} {}

    /// The next entry; what was not read of the last one is skipped. Empty at the end of the archive.
    Result<std::optional<TarEntry>> next();
    /// Of the present entry's stored bytes; 0 at their end.
    Result<std::size_t> read(std::span<char> out);
    /// Where in the input the next of them is.
    [[nodiscard]] std::uint64_t position() const { return position_; }

private:
    Result<bool> read_block(std::span<char> block);
    Result<std::string> read_long(std::uint64_t bytes, std::uint64_t& counted);
    Result<std::optional<TarHeader>> next_header();
    Result<TarEntry> to_entry(TarHeader header);
    Result<> read_gnu_map(TarHeader& header);
    Result<> read_sparse(const TarHeader& header, TarEntry& entry);
    Result<std::vector<DataPart>> read_map();
    [[nodiscard]] EffectiveRecords records() const { return {.own = records_, .global = global_}; }
    Result<> apply_records(TarHeader& header, TarEntry& entry) const;

    ByteStream* input_;
    Limits limits_;
    End end_;
    std::uint64_t position_ = 0, left_ = 0, padding_ = 0;
    PaxRecords global_, records_;    ///< of the archive; of the present entry
    std::uint64_t global_bytes_ = 0; ///< of headers
    std::string last_path_;
};

} // namespace coppice::imports
