#include "coppice/export/tar_export.h"

#include "coppice/base/text.h"
#include "tar_writer.h"

#include <algorithm>
#include <sys/stat.h>
#include <unordered_map>

namespace coppice::exports {

using vdisk::InodeId;
using vdisk::Tree;

namespace {

constexpr std::size_t kCopyBytes = 256U << 10, kPartStepBytes = 64U << 10;
constexpr std::size_t kPartsMax = 64U << 10;
constexpr std::uint64_t kHolesLeast = 1U << 20; // fewer zeros than this are written as they are

char type_of(std::uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFLNK: return '2';
    case S_IFCHR: return '3';
    case S_IFBLK: return '4';
    case S_IFDIR: return '5';
    case S_IFIFO: return '6';
    default: return '0';
    }
}

/// Sockets have no type in archives, and none of them would lead anywhere.
bool is_left_out(std::uint32_t mode, const TarOptions& options)
{
    return S_ISSOCK(mode) || (!options.devices && (S_ISCHR(mode) || S_ISBLK(mode)));
}

struct Named {
    std::string path;
    InodeId inode;
};

/// Every name at and below `top`, in the order of the archive. (A list instead of recursion: the tree may be deep.)
Result<> walk(const Tree& tree, Named top, const std::function<Result<>(const Named&)>& visit)
{
    std::vector<Named> ahead{std::move(top)};
    while (!ahead.empty()) {
        const Named next = std::move(ahead.back());
        ahead.pop_back();
        TRY(visit(next));
        if (!tree.is_directory(next.inode)) continue;
        const std::string prefix = next.path == "." ? "" : next.path + "/";
        const auto entries = tree.entries(next.inode);
        for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry)
            ahead.push_back({cat(prefix, entry->name), entry->inode});
    }
    return {};
}

/// Where the content is; empty when it is not worth a map.
std::vector<DataPart> parts_of(const vdisk::OpenContent& content, std::uint64_t bytes)
{
    std::vector<DataPart> parts;
    std::uint64_t holes = 0;
    for (std::uint64_t at = 0; at < bytes;) {
        const std::uint64_t data = std::min(content.next_data(at), bytes);
        holes += data - at;
        std::uint64_t end = data;
        while (end < bytes && content.next_data(end) == end)
            end = std::min(bytes, (end / kPartStepBytes + 1) * kPartStepBytes);
        if (end > data) parts.push_back({.offset = data, .bytes = end - data});
        if (parts.size() > kPartsMax) return {};
        at = end;
    }
    if (holes < kHolesLeast) return {};
    // A hole at the end is told by a part without bytes there.
    if (parts.empty() || parts.back().offset + parts.back().bytes < bytes)
        parts.push_back({.offset = bytes, .bytes = 0});
    return parts;
}

class Archive {
public:
    Archive(const Tree& tree, const TarOptions& options, vdisk::ByteSink& out, const imports::Context& context)
        : tree_{&tree}, options_{options},
          writer_{out, options.form == TarOptions::Form::Layer ? TarWriter::Acls::Raw : TarWriter::Acls::Text},
          context_{&context}, buffer_(kCopyBytes, '\0'), names_(tree.inode_count(), Names::None)
    {
    }
    Result<> write(const Named& top)
    {
        TRY(walk(*tree_, top, [&](const Named& named) { return count(named); }));
        TRY(walk(*tree_, top, [&](const Named& named) { return with_context(add(named), printable(named.path)); }));
        return writer_.finish();
    }

private:
    Result<> count(const Named& named)
    {
        if (tree_->is_directory(named.inode) || is_left_out(tree_->mode(named.inode), options_)) return {};
        if (options_.form == TarOptions::Form::Layer)
            if (std::string_view{named.path}.substr(named.path.rfind('/') + 1).starts_with(".wh.")) // npos + 1 is 0
                return fail(Error{ErrorKind::Unsupported,
                                  cat(printable(named.path), ": an image cannot hold a name that begins with .wh.")}
                                .hint("export as tar or flat"));
        auto& names = names_[static_cast<std::size_t>(named.inode)];
        if (names == Names::None && tree_->is_file(named.inode)) total_ += tree_->size(named.inode);
        names = names == Names::None ? Names::One : Names::Several;
        return {};
    }
    Result<> add(const Named& named)
    {
        TRY(imports::check_stop(context_->stop));
        const auto mode = tree_->mode(named.inode);
        if (is_left_out(mode, options_)) return {};
        TarMember member;
        member.path = named.path;
        member.attributes = tree_->attributes(named.inode);
        if (const auto first = first_.find(named.inode); first != first_.end()) {
            member.type = '1';
            member.target = first->second;
            return writer_.add(member);
        }
        if (!tree_->is_directory(named.inode) && names_[static_cast<std::size_t>(named.inode)] == Names::Several)
            first_.emplace(named.inode, named.path);
        member.type = type_of(member.attributes.mode);
        member.xattrs = tree_->xattrs(named.inode);
        std::erase_if(member.xattrs, [](const vdisk::Xattr& xattr) { return xattr.name.starts_with("trusted."); });
        if (member.type == '2') member.target = tree_->target(named.inode);
        if (member.type == '3' || member.type == '4') member.device = tree_->device(named.inode);
        if (!tree_->is_file(named.inode)) return writer_.add(member);
        member.size = tree_->size(named.inode);
        return add_file(member, named.inode);
    }
    Result<> add_file(const TarMember& member, InodeId inode)
    {
        if (member.size == 0) return writer_.add(member);
        const auto content = TRY(tree_->open_content(inode));
        std::vector<DataPart> parts;
        if (options_.form == TarOptions::Form::Archive) parts = parts_of(*content, member.size);
        if (parts.empty()) {
            TRY(writer_.add(member));
            parts.push_back({.offset = 0, .bytes = member.size});
        } else {
            TRY(writer_.add_sparse(member, parts));
        }
        for (const DataPart& part : parts)
            TRY(copy(*content, part));
        TRY(content->check_unchanged());
        done_ += member.size;
        context_->progress({.stage = "writing files", .bytes = done_, .total_bytes = total_});
        return writer_.pad();
    }
    Result<> copy(const vdisk::OpenContent& content, const DataPart& part)
    {
        for (std::uint64_t at = 0; at < part.bytes;) {
            TRY(imports::check_stop(context_->stop));
            const std::size_t bytes = std::min<std::uint64_t>(buffer_.size(), part.bytes - at);
            TRY(content.read(part.offset + at, std::span{buffer_}.first(bytes)));
            TRY(writer_.write(std::string_view{buffer_}.substr(0, bytes)));
            at += bytes;
            context_->progress({.stage = "writing files", .bytes = done_ + at, .total_bytes = total_});
        }
        return {};
    }

    const Tree* tree_;
    TarOptions options_;
    TarWriter writer_;
    const imports::Context* context_;
    std::string buffer_;
    enum class Names : unsigned char { None, One, Several };
    std::vector<Names> names_;                       ///< by inode; not of directories
    std::unordered_map<InodeId, std::string> first_; ///< of those with several
    std::uint64_t done_ = 0, total_ = 0;
};

} // namespace

Result<> write_tar(const Tree& tree, const TarOptions& options, vdisk::ByteSink& out, const imports::Context& context)
{
    std::string_view path = options.path;
    while (path.starts_with('/'))
        path.remove_prefix(1);
    while (path.ends_with('/'))
        path.remove_suffix(1);
    const auto top = tree.find_path(path);
    if (!top) return fail(ErrorKind::NotFound, cat(printable(path), " is not there"));
    const auto name = path.substr(path.rfind('/') + 1); // npos + 1 is 0
    return Archive{tree, options, out, context}.write({path.empty() ? "." : std::string{name}, *top});
}

} // namespace coppice::exports
