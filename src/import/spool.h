#pragma once

#include "tar_reader.h"

namespace coppice::imports {

/// Where the content of an archive's files goes until the layer is written.
class Contents {
public:
    Contents() = default;
    Contents(const Contents&) = delete;
    Contents& operator=(const Contents&) = delete;
    virtual ~Contents() = default;
    struct Place {
        std::shared_ptr<const vdisk::ContentSource> source;
        std::uint64_t key;
    };
    /// The content of `entry`, which `reader` has just come to.
    virtual Result<Place> take(const TarEntry& entry, TarReader& reader) = 0;
};

/// Writes all but blocks of zeros to a new file, so that what an archive says in a few bytes does not fill the disk.
/// @returns where what was written ends; 0: nothing was
Result<std::uint64_t> write_around_zeros(int file, std::string_view bytes, std::uint64_t at, std::string_view name);

/// An unnamed file: nobody else sees it, and it goes with the last user. Holes stay holes, and zeros become some.
class Spool final : public Contents {
public:
    /// @param directory borrowed, on a disk with room for everything. Errors: Unavailable (disk full), Unsupported
    static Result<std::unique_ptr<Spool>> make(int directory);
    Result<Place> take(const TarEntry& entry, TarReader& reader) override;

private:
    explicit Spool(os::Fd file, std::shared_ptr<const vdisk::ContentSource> source)
        : file_{std::move(file)}, source_{std::move(source)}, buffer_(256U << 10, '\0')
    {
    }
    os::Fd file_;
    std::shared_ptr<const vdisk::ContentSource> source_;
    std::uint64_t end_ = 0, written_ = 0; ///< of the last file; of the spool itself
    std::string buffer_;
};

/// An archive that is a file and not packed: its content stays where it is.
class InPlace final : public Contents {
public:
    /// @param spool borrowed directory, for what does not lie in one piece
    static Result<std::unique_ptr<InPlace>> make(const os::Fd& archive, std::string name, int spool);
    Result<Place> take(const TarEntry& entry, TarReader& reader) override;

private:
    InPlace(std::shared_ptr<const vdisk::ContentSource> source, int spool)
        : source_{std::move(source)}, directory_{spool}
    {
    }
    std::shared_ptr<const vdisk::ContentSource> source_;
    int directory_;
    std::unique_ptr<Spool> spool_; ///< made when it is needed
};

} // namespace coppice::imports
