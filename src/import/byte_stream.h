#pragma once

#include "coppice/import/context.h"
#include "coppice/security/sha256.h"

#include <memory>
#include <optional>
#include <span>

namespace coppice::imports {

/// Bytes one after another. One thread. Blocks.
class ByteStream {
public:
    ByteStream() = default;
    ByteStream(const ByteStream&) = delete;
    ByteStream& operator=(const ByteStream&) = delete;
    virtual ~ByteStream() = default;
    /// @returns how many bytes were put into `out` (not empty), 0 at the end
    virtual Result<std::size_t> read(std::span<char> out) = 0;
    /// Goes forward. Errors: Corrupt (the end comes before)
    virtual Result<> skip(std::uint64_t bytes);
};

/// Fills `out`, but for the end: returns how much it is.
Result<std::size_t> read_full(ByteStream& stream, std::span<char> out);
/// Everything that is left. Errors: Invalid (more than `most`)
Result<std::string> read_rest(ByteStream& stream, std::size_t most, std::string_view name);

/// A file, a pipe or a socket, from where it stands.
class FileStream final : public ByteStream {
public:
    FileStream(os::Fd file, std::string name, std::stop_token stop);
    Result<std::size_t> read(std::span<char> out) override;
    Result<> skip(std::uint64_t bytes) override;
    [[nodiscard]] std::uint64_t position() const { return position_; } ///< from where it began
    [[nodiscard]] std::uint64_t total() const { return position_ + left_.value_or(0); }

private:
    [[nodiscard]] Result<> wait() const;
    os::Fd file_;
    std::string name_;
    std::stop_token stop_;
    std::uint64_t position_ = 0;
    std::optional<std::uint64_t> left_; ///< of a regular file: it can be skipped
};

/// Passes bytes on and hashes and counts them. `inner` is borrowed.
class HashingStream final : public ByteStream {
public:
    explicit HashingStream(ByteStream& inner) : inner_{&inner} {}
    Result<std::size_t> read(std::span<char> out) override;
    /// Reads what is left, too: the hash is of all of it.
    Result<security::Sha256Digest> finish();
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

private:
    ByteStream* inner_;
    security::Sha256 hash_;
    std::uint64_t bytes_ = 0;
};

} // namespace coppice::imports
