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

/// An unnamed file: nobody else sees it, and it goes with the last user. Holes stay holes.
class Spool final : public Contents {
public:
    /// @param directory borrowed, on a disk with room for everything. Errors: Unavailable (disk full), Unsupported
    static Result<std::unique_ptr<Spool>> make(int directory);
    Result<Place> take(const TarEntry& entry, TarReader& reader) override;
    /// All that `stream` gives, as one file of at most `most` bytes. Errors: Unavailable (longer)
    struct Whole {
        Place place;
        std::uint64_t bytes;
    };
    Result<Whole> take_all(ByteStream& stream, std::uint64_t most);

private:
    explicit Spool(os::Fd file, std::shared_ptr<const vdisk::ContentSource> source)
        : file_{std::move(file)}, source_{std::move(source)}, buffer_(256U << 10, '\0')
    {
    }
    os::Fd file_;
    std::shared_ptr<const vdisk::ContentSource> source_;
    std::uint64_t end_ = 0;
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
