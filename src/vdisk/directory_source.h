#pragma once

#include "coppice/vdisk/arena.h"
#include "coppice/vdisk/content.h"

#include <sys/stat.h>

namespace coppice::vdisk {

/// Files below a directory, opened by name when they are read.
class DirectorySource final : public ContentSource {
public:
    explicit DirectorySource(os::Fd root);

    /// Directories by number; 0 is the root.
    Result<std::uint32_t> add_directory(std::uint32_t parent, std::string_view name);
    Result<std::uint64_t> add_file(std::uint32_t directory, std::string_view name); ///< its key

    /// Path from the root, "." for the root itself.
    [[nodiscard]] std::string path_of(std::uint32_t directory) const;
    /// Opens a directory below the root, never through a link.
    [[nodiscard]] Result<os::Fd> open_directory(std::uint32_t directory) const;
    Result<std::unique_ptr<OpenContent>> open(std::uint64_t key, std::uint64_t bytes) const override;

private:
    struct Directory {
        std::uint32_t parent;
        StringPool::Id name;
    };
    os::Fd root_;
    StringPool names_;
    Chunked<Directory> directories_;
};

} // namespace coppice::vdisk
