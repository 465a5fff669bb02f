#pragma once

#include "coppice/import/data_part.h"
#include "coppice/vdisk/layer_writer.h"
#include "coppice/vdisk/tree.h"

#include <string>
#include <vector>

namespace coppice::exports {

/// What an archive says of one name.
struct TarMember {
    std::string path; ///< a directory's without a slash behind it
    char type = '0';  ///< as in the header: file, hard link, link, devices, directory, FIFO ('0' to '6')
    std::string target;
    vdisk::Attributes attributes;
    vdisk::DeviceNumber device;
    std::vector<vdisk::Xattr> xattrs;
    std::uint64_t size = 0; ///< of a file
};

using imports::DataPart;

/// Writes headers: ustar, with a pax header in front of those that say more than ustar can. One thread.
class TarWriter {
public:
    enum class Acls : unsigned char {
        Text, ///< SCHILY.acl.*, which tar programs read
        Raw,  ///< SCHILY.xattr.system.posix_acl_*: container engines know attributes only
    };
    explicit TarWriter(vdisk::ByteSink& out, Acls acls = Acls::Text) : out_{&out}, acls_{acls} {}

    /// The header; a file's content is for the caller to write.
    Result<> add(const TarMember& member);
    /// A file of which only `parts` come, one after another, in GNU's sparse form 1.0.
    Result<> add_sparse(const TarMember& member, const std::vector<DataPart>& parts);
    Result<> write(std::string_view content);
    /// Behind a file's content: up to the next block.
    Result<> pad();
    /// The end mark.
    Result<> finish();

private:
    Result<> put_headers(const TarMember& member, std::uint64_t stored, std::string records);

    vdisk::ByteSink* out_;
    Acls acls_;
    std::uint64_t position_ = 0;
};

} // namespace coppice::exports
