#include "patch.h"

#include "coppice/base/text.h"
#include "coppice/os/file.h"
#include "coppice/os/spawn.h"

#include <cerrno>
#include <cstdio>
#include <sys/mman.h>
#include <unistd.h>

namespace coppice::cli {

namespace {

constexpr std::uint64_t kMostBytes = 16U << 20;

Result<std::string> fetch(const api::Client& client, const std::string& files, const std::string& path)
{
    std::string content;
    TRY(client.download({.target = cat(files, "?path=", api::encode_segment('/' + path))},
                        [&content](std::string_view piece) -> Result<> {
                            if (content.size() + piece.size() > kMostBytes)
                                return fail(ErrorKind::Corrupt, "the file is longer than the diff says");
                            content += piece;
                            return {};
                        }));
    return content;
}

/// A file for `diff` to read, at its beginning.
Result<os::Fd> file_of(std::string_view content)
{
    os::Fd memory{::memfd_create("coppice-diff", MFD_CLOEXEC)};
    if (!memory.is_open()) return fail_os(errno, "make a file in memory");
    TRY(os::write_all(memory.get(), content, "a file in memory"));
    if (::lseek(memory.get(), 0, SEEK_SET) < 0) return fail_os(errno, "rewind a file in memory");
    return memory;
}

Result<> print_hunks(const FileChange& change, const std::string& before, const std::string& after, const Paint& paint)
{
    const auto old_file = TRY(file_of(before));
    const auto new_file = TRY(file_of(after));
    std::fflush(stdout); // ours first
    auto started = os::spawn({.arguments = {"diff", "-u", paint.is_on() ? "--color=always" : "--color=never", "--label",
                                            old_label(change), "--label", new_label(change), "-", "/dev/fd/3"},
                              .more_variables = {},
                              .input = old_file.get(),
                              .output = STDOUT_FILENO,
                              .error = STDERR_FILENO,
                              .further = new_file.get()});
    if (!started) return fail(std::move(started).error().hint("install diffutils"));
    const auto end = TRY(started->wait());
    constexpr int kDiffers = 1;
    if (end.by_signal || end.code > kDiffers) return fail(ErrorKind::Os, cat("diff failed with status ", end.code));
    return {};
}

Result<> print_file(const api::Client& client, const PatchSides& sides, const FileChange& change, const Paint& paint)
{
    std::fputs(paint(Paint::Colour::Bold, patch_header(change)).c_str(), stdout);
    if (!has_hunks(change)) return {};
    const bool fits = change.old_bytes <= kMostBytes && change.new_bytes <= kMostBytes;
    std::string before, after;
    if (fits && change.kind != FileChange::Kind::Added) before = TRY(fetch(client, sides.old_files, change.path));
    if (fits && change.kind != FileChange::Kind::Removed) after = TRY(fetch(client, sides.new_files, change.path));
    if (fits && is_text(before) && is_text(after)) return print_hunks(change, before, after, paint);
    std::puts(cat("Binary files ", old_label(change), " and ", new_label(change), " differ").c_str());
    return {};
}

} // namespace

Result<> print_patch(const api::Client& client, const PatchSides& sides, const FileChanges& diff, const Paint& paint)
{
    for (const FileChange& change : diff.changes)
        TRY_DOING(printable(change.path), print_file(client, sides, change, paint));
    return {};
}

} // namespace coppice::cli
