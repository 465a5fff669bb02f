#include "coppice/daemon/journal.h"

#include "coppice/base/json.h"
#include "coppice/base/json_text.h"
#include "coppice/base/text.h"
#include "coppice/os/file.h"

#include <unistd.h>

namespace coppice::daemon {

namespace {

constexpr std::size_t kReadBytes = 1U << 20;

std::string line_of(const nlohmann::json& record) { return json_text(record) + '\n'; }

Result<os::Fd> open_file(const std::string& path)
{
    return os::open_at(os::kCwd, path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
}

} // namespace

Result<Journal::Opened> Journal::open(const std::string& path)
{
    auto file = TRY(open_file(path));
    // However long it is: it is our own, and without it the daemon would not start.
    std::vector<nlohmann::json> records;
    std::string text, piece;
    std::size_t number = 1;
    off_t read = 0;
    for (;;) {
        piece.resize(kReadBytes);
        const auto got = os::retry_eintr([&] { return ::pread(file.get(), piece.data(), piece.size(), read); });
        if (got < 0) return fail_os(errno, cat("read ", path));
        if (got == 0) break;
        read += got;
        const std::size_t before = text.size();
        text.append(piece, 0, static_cast<std::size_t>(got));
        std::size_t begin = 0;
        for (auto end = text.find('\n', before); end != std::string::npos; end = text.find('\n', begin), ++number) {
            auto record = parse_json(std::string_view{text}.substr(begin, end - begin));
            if (!record)
                return fail(Error{record.error()}
                                .with(cat(path, " line ", number))
                                .as(ErrorKind::Corrupt)
                                .hint("the file is damaged; move it away to go on without it"));
            records.push_back(*std::move(record));
            begin = end + 1;
        }
        text.erase(0, begin);
    }
    // What is behind the last line feed was never acknowledged.
    if (!text.empty() && ::ftruncate(file.get(), read - static_cast<off_t>(text.size())) < 0)
        return fail_os(errno, cat("cut off the unfinished end of ", path));
    return Opened{Journal{path, std::move(file)}, std::move(records)};
}

Result<> Journal::append(const nlohmann::json& record, bool durable)
{
    if (!file_.is_open())
        return fail(Error{ErrorKind::Unavailable, cat(path_, " could not be written before")}.hint("restart coppiced"));
    const auto size = ::lseek(file_.get(), 0, SEEK_END);
    auto written = os::write_all(file_.get(), line_of(record), path_);
    if (!written && size >= 0 && ::ftruncate(file_.get(), size) < 0) file_.reset(); // half a line must not be continued
    if (written && durable && ::fdatasync(file_.get()) < 0) {
        written = fail_os(errno, cat("sync ", path_));
        file_.reset(); // what it holds is unknown now
    }
    if (written) ++appended_;
    return written;
}

Result<> Journal::replace(const std::vector<nlohmann::json>& records)
{
    std::string text;
    for (const auto& record : records)
        text += line_of(record);
    TRY(os::replace_file(os::kCwd, path_, text, 0600, true));
    file_ = TRY(open_file(path_));
    appended_ = 0;
    return {};
}

} // namespace coppice::daemon
