#pragma once

#include "coppice/import/oci_image.h"
#include "coppice/os/file.h"
#include "coppice/test/expect.h"
#include "coppice/test/temp_dir.h"
#include "tar_maker.h"

#include <string>
#include <zlib.h>

namespace coppice::imports::test {

using coppice::test::fails_as;
using coppice::test::succeeds;
using coppice::test::TempDir;
using coppice::test::value_of;

/// As gzip(1) would.
inline std::string gzip(std::string_view text)
{
    z_stream z{};
    deflateInit2(&z, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    std::string out(deflateBound(&z, text.size()) + 64, '\0');
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    z.avail_in = static_cast<unsigned>(text.size());
    z.next_out = reinterpret_cast<Bytef*>(out.data());
    z.avail_out = static_cast<unsigned>(out.size());
    deflate(&z, Z_FINISH);
    out.resize(z.total_out);
    deflateEnd(&z);
    return out;
}

inline std::string content_of(const vdisk::Tree& tree, const std::string& path)
{
    const auto inode = tree.find_path(path);
    if (!inode) return "(nothing)";
    std::string content(tree.size(*inode), '\0');
    if (!content.empty()) value_of(value_of(tree.open_content(*inode))->read(0, content));
    return content;
}

/// A directory for sources and a directory for spools.
struct ImportFixture {
    TempDir directory;
    Context context;
    ImportFixture()
    {
        context.spool = directory.fd();
        context.spool_path = directory.path();
    }
    [[nodiscard]] Result<Imported> tar(const std::string& bytes) const
    {
        directory.write("archive", bytes);
        return import_tar(value_of(os::open_at(directory.fd(), "archive", O_RDONLY)), "archive", {}, context);
    }
    /// Nothing but what the test has made is in the directory.
    [[nodiscard]] std::size_t names() const { return value_of(os::list_directory(directory.fd(), ".")).size(); }
};

} // namespace coppice::imports::test
