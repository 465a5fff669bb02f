#include "coppice/test/temp_dir.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <sys/mount.h>
#include <unistd.h>
#include <vector>

namespace coppice::test {

namespace {

std::vector<std::string> mounts_below(const std::string& path)
{
    std::vector<std::string> found;
    std::ifstream mounts{"/proc/self/mountinfo"};
    for (std::string line; std::getline(mounts, line);) {
        std::size_t start = 0;
        for (int field = 1; field < 5; ++field)
            start = line.find(' ', start) + 1;
        const std::string where = line.substr(start, line.find(' ', start) - start);
        if (where.starts_with(path + "/")) found.insert(found.begin(), where); // the last one mounted first
    }
    return found;
}

} // namespace

TempDir::TempDir()
{
    const char* const chosen = std::getenv("COPPICE_TEST_DIR");
    std::string form = std::string{chosen == nullptr ? "/var/tmp" : chosen} + "/" + host_name_prefix() + "-XXXXXX";
    if (::mkdtemp(form.data()) == nullptr) throw std::runtime_error("mkdtemp " + form + ": " + std::strerror(errno));
    path_ = form;
    fd_ = os::Fd{::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
}

TempDir::~TempDir()
{
    for (const std::string& mount : mounts_below(path_))
        ::umount2(mount.c_str(), MNT_DETACH);
    if (!mounts_below(path_).empty()) return; // deleting through a mount is worse than a leftover
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void TempDir::write(const std::string& name, std::string_view content) const
{
    std::filesystem::create_directories(std::filesystem::path{path_ + "/" + name}.parent_path());
    write_text(path_ + "/" + name, content);
}

std::string TempDir::read(const std::string& name) const { return read_text(path_ + "/" + name); }

void TempDir::make_directory(const std::string& name) const { std::filesystem::create_directories(path_ + "/" + name); }

bool TempDir::exists(const std::string& name) const
{
    // By path: in a child with a mount namespace of its own the descriptor would show the parent's mounts.
    return ::faccessat(AT_FDCWD, (path_ + "/" + name).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

const std::string& host_name_prefix()
{
    static const std::string prefix = "coppice-test-" + std::to_string(::getpid());
    return prefix;
}

std::string read_text(const std::string& path)
{
    std::ifstream file{path, std::ios::binary};
    if (!file) throw std::runtime_error("cannot read " + path);
    return {std::istreambuf_iterator<char>{file}, {}};
}

void write_text(const std::string& path, std::string_view content)
{
    std::ofstream file{path, std::ios::binary | std::ios::trunc};
    file << content;
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path);
}

} // namespace coppice::test
