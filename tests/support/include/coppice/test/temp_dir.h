#pragma once

#include "coppice/os/fd.h"

#include <string>
#include <string_view>

namespace coppice::test {

/// A directory that goes with the object, with all mounts below it. It is on a file system that can hold an overlay's
/// upper directory: below $COPPICE_TEST_DIR, or /var/tmp. What a crashed program leaves, its guardian removes.
class TempDir {
public:
    TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir();

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string operator/(std::string_view name) const { return path_ + "/" + std::string{name}; }
    [[nodiscard]] int fd() const { return fd_.get(); }

    /// Relative names; parents are made.
    void write(const std::string& name, std::string_view content) const;
    [[nodiscard]] std::string read(const std::string& name) const;
    void make_directory(const std::string& name) const;
    [[nodiscard]] bool exists(const std::string& name) const; ///< a dangling link exists

private:
    std::string path_;
    os::Fd fd_;
};

/// Every name that a test leaves on the host for a while (directories, cgroups) begins with it: "coppice-test-PID".
const std::string& host_name_prefix();

std::string read_text(const std::string& path);
void write_text(const std::string& path, std::string_view content);

} // namespace coppice::test
