#pragma once

#include "coppice/os/fd.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

/// Where the bytes of a tree's regular files come from.
namespace coppice::vdisk {

/// One regular file, open for reading.
class OpenContent {
public:
    OpenContent() = default;
    OpenContent(const OpenContent&) = delete;
    OpenContent& operator=(const OpenContent&) = delete;
    virtual ~OpenContent() = default;

    /// Fills `out` with the file's bytes from `offset` on. Blocks. Any thread.
    /// Errors: Conflict (the file ends before), Corrupt (content that does not verify), Os
    virtual Result<> read(std::uint64_t offset, std::span<char> out) const = 0;
    /// The first position from `offset` on that may hold anything but zeros; beyond the end if there is none.
    [[nodiscard]] virtual std::uint64_t next_data(std::uint64_t offset) const { return offset; }
    /// After the last read. Errors: Conflict (the file was changed meanwhile)
    [[nodiscard]] virtual Result<> check_unchanged() const { return {}; }
};

/// Many files. What a key means is the source's business.
class ContentSource {
public:
    ContentSource() = default;
    ContentSource(const ContentSource&) = delete;
    ContentSource& operator=(const ContentSource&) = delete;
    virtual ~ContentSource() = default;

    /// @param bytes the size that the tree has for this file
    /// Blocks. Any thread. Errors: Conflict (not there any more, or of another size), Denied, Os
    virtual Result<std::unique_ptr<OpenContent>> open(std::uint64_t key, std::uint64_t bytes) const = 0;
};

/// Ranges of one file, such as a spool or an uncompressed archive: a key is the offset of a file's first byte.
class RangeSource final : public ContentSource {
public:
    enum class Holes : unsigned char { None, Some }; ///< whether it is worth asking the file system for holes
    /// @param name for messages
    RangeSource(os::Fd file, std::string name, Holes holes = Holes::None)
        : file_{std::move(file)}, name_{std::move(name)}, holes_{holes}
    {
    }
    Result<std::unique_ptr<OpenContent>> open(std::uint64_t key, std::uint64_t bytes) const override;

private:
    os::Fd file_;
    std::string name_;
    Holes holes_;
};

/// A file of `bytes` bytes that is open as `file`; it must be a regular one of just this size.
/// Errors: Conflict (it is not)
Result<std::unique_ptr<OpenContent>> open_whole_file(os::Fd file, std::uint64_t bytes);

} // namespace coppice::vdisk
