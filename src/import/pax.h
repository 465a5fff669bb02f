#pragma once

#include "tar_header.h"

#include <map>

/// Extended headers of pax. Source: POSIX.1-2017 pax, "pax Extended Header"; star's and GNU tar's keywords
namespace coppice::imports {

/// Records by keyword.
struct PaxRecords {
    std::map<std::string, std::string, std::less<>> values;
    std::vector<DataPart> parts; ///< GNU.sparse.offset and .numbytes (form 0.0), which come many times
};

/// An entry's records before those of the whole archive.
struct EffectiveRecords {
    const PaxRecords& own;
    const PaxRecords& global;
    /// Null: there is none; an empty one takes a global one away, too.
    [[nodiscard]] const std::string* find(std::string_view keyword) const;
};

/// Adds the records of `text`, later ones winning. Input is hostile. Errors: Corrupt
Result<> parse_pax(std::string_view text, PaxRecords& records);

/// "1700000000.25", also negative. Errors: Corrupt
Result<vdisk::FileTime> parse_pax_time(std::string_view text);
/// Decimal. Errors: Corrupt
Result<std::uint64_t> parse_decimal(std::string_view text, std::string_view what);
/// "offset,bytes,offset,bytes", form 0.1 of sparse files. Errors: Corrupt
Result<std::vector<DataPart>> parse_sparse_list(std::string_view text);

/// What the records say of extended attributes: SCHILY.xattr.*, RHT.security.selinux and the ACLs, in the kernel's
/// form. trusted.* are left out: they direct the kernel. Errors: Corrupt, Unsupported
Result<std::vector<vdisk::Xattr>> xattrs_of(const EffectiveRecords& records);

} // namespace coppice::imports
