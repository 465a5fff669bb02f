#include "coppice/instance/log_file.h"

#include "coppice/os/file.h"

#include <cerrno>
#include <cstdio>

namespace coppice::instance {

namespace {

Result<os::Fd> open_log(int directory)
{
    return os::open_at(directory, kLogName, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
}

} // namespace

Result<LogFile> LogFile::open(int directory)
{
    auto file = TRY_DOING("log", open_log(directory));
    struct stat status{};
    if (::fstat(file.get(), &status) < 0) return fail_os(errno, "stat the log");
    return LogFile{directory, std::move(file), static_cast<std::uint64_t>(status.st_size)};
}

Result<> LogFile::append(std::string_view output)
{
    if (size_ + output.size() > kLogMaxBytes) {
        if (::renameat(directory_, kLogName, directory_, kOlderLogName) < 0 && errno != ENOENT)
            return fail_os(errno, "rotate the log");
        file_ = TRY_DOING("log", open_log(directory_));
        size_ = 0;
    }
    size_ += output.size(); // also of a part: better too early a rotation than none
    return os::write_all(file_.get(), output, kLogName);
}

} // namespace coppice::instance
