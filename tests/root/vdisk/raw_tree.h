#pragma once

#include "coppice/base/text.h"
#include "coppice/security/sha256.h"
#include "coppice/test/temp_dir.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

namespace coppice::vdisk::test {

/// Attributes as a directory of the store has them, but for our own notes. security.* ones are the host's.
inline std::string raw_xattrs(const std::string& path)
{
    std::string names(65536, '\0');
    const auto size = ::llistxattr(path.c_str(), names.data(), names.size());
    if (size < 0) throw std::runtime_error("cannot list the attributes of " + path);
    names.resize(static_cast<std::size_t>(size));
    std::map<std::string, std::string> found;
    for (const auto name : split(names, '\0')) {
        if (name.empty() || name.starts_with("trusted.coppice.")) continue;
        std::string value(65536, '\0');
        const auto got = ::lgetxattr(path.c_str(), std::string{name}.c_str(), value.data(), value.size());
        found[std::string{name}] = value.substr(0, static_cast<std::size_t>(got));
    }
    std::string text;
    for (const auto& [name, value] : found)
        text += cat(' ', name, '=', printable(value));
    return text;
}

/// All that a program could have changed below a directory, raw: a line for each path, with the first of the names that
/// an inode has. Of a whiteout counts only that it is one.
inline std::map<std::string, std::string> raw_tree(const std::string& root)
{
    namespace fs = std::filesystem;
    std::map<std::string, std::string> lines;
    std::map<std::string, struct stat> found;
    const auto look = [&](const std::string& path) {
        struct stat status{};
        if (::lstat(path.c_str(), &status) != 0) throw std::runtime_error("cannot look at " + path);
        found[path] = status;
    };
    look(root);
    for (const auto& entry : fs::recursive_directory_iterator{root})
        look(entry.path());
    std::map<ino_t, std::string> first;
    for (const auto& [path, status] : found) {
        const std::string name = path.substr(root.size());
        if (S_ISCHR(status.st_mode) && status.st_rdev == 0) {
            lines[name] = "whiteout";
            continue;
        }
        std::string content;
        if (S_ISREG(status.st_mode)) content = security::sha256(coppice::test::read_text(path)).hex();
        if (S_ISLNK(status.st_mode)) content = fs::read_symlink(path);
        const bool directory = S_ISDIR(status.st_mode);
        lines[name] =
            cat(status.st_mode, ' ', status.st_uid, ':', status.st_gid, ' ', status.st_mtim.tv_sec, '.',
                status.st_mtim.tv_nsec, ' ', directory ? 0 : status.st_size, ' ', status.st_rdev, ' ',
                directory ? 0 : status.st_nlink, ' ',
                directory ? "" : first.try_emplace(status.st_ino, name).first->second, ' ', content, raw_xattrs(path));
    }
    return lines;
}

} // namespace coppice::vdisk::test
