#pragma once

#include "coppice/os/fd.h"
#include "coppice/security/sha256.h"
#include "coppice/vdisk/layer_writer.h"

#include <memory>
#include <string>

namespace coppice::exports {

/// A file, pipe or socket; gathers small pieces. What was not flushed is not written.
class FileSink final : public vdisk::ByteSink {
public:
    /// @param file borrowed. @param name for messages
    FileSink(int file, std::string name);
    Result<> write(std::string_view bytes) override;
    Result<> flush();

private:
    int file_;
    std::string name_, buffer_;
};

/// Hashes and counts what goes through.
class HashingSink final : public vdisk::ByteSink {
public:
    explicit HashingSink(vdisk::ByteSink& out) : out_{&out} {}
    Result<> write(std::string_view bytes) override;
    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    security::Sha256Digest finish() { return hash_.finish(); }

private:
    vdisk::ByteSink* out_;
    security::Sha256 hash_;
    std::uint64_t bytes_ = 0;
};

/// Packs as gzip(1): without name and time, so that the same bytes give the same bytes.
class GzipSink final : public vdisk::ByteSink {
public:
    explicit GzipSink(vdisk::ByteSink& out);
    ~GzipSink() override;
    Result<> write(std::string_view bytes) override;
    /// The end of the stream.
    Result<> finish();

private:
    Result<> deflate(std::string_view bytes, int flush);
    struct State;
    vdisk::ByteSink* out_;
    std::unique_ptr<State> state_;
    std::string buffer_;
};

} // namespace coppice::exports
