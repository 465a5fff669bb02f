#include "unpack.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/capability.h"
#include "coppice/os/file.h"
#include "coppice/os/spawn.h"
#include "names.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <sys/stat.h>
#include <unistd.h>

namespace coppice::cli {

namespace {

/// A snapshot may hold the node of a disk with any mode: made on the host it would be open to whom it says.
Result<> give_up_device_nodes()
{
    if (::geteuid() != 0) return {}; // nobody else may make them
    return os::limit_bounding_set(os::supported_capabilities() & ~os::find_capability("CAP_MKNOD"));
}

} // namespace

Result<Unpacker> Unpacker::open(CopySource source, Target target)
{
    const auto status = TRY(os::find_status(os::kCwd, target.path));
    const Present present = !status ? Present::Nothing : S_ISDIR(status->st_mode) ? Present::Directory : Present::File;
    return Unpacker{std::move(source), std::move(target), present};
}

Unpacker::Unpacker(Unpacker&& other) noexcept
    : source_{std::move(other.source_)}, target_{std::move(other.target_)}, present_{other.present_},
      beginning_{std::move(other.beginning_)}, tar_{std::move(other.tar_)}, pipe_{std::move(other.pipe_)},
      has_ended_{other.has_ended_}, staging_{std::exchange(other.staging_, {})}
{
}

Unpacker::~Unpacker()
{
    if (staging_.empty()) return;
    { // tar first, so that nothing comes into the directory any more
        [[maybe_unused]] const os::Process ended = std::move(tar_);
    }
    if (const auto removed = os::remove_tree(os::kCwd, staging_); !removed)
        std::fprintf(stderr, "coppice: %s\n", removed.error().line().c_str());
}

Result<> Unpacker::take(std::string_view piece)
{
    if (has_ended_) return {};
    if (pipe_.is_open()) {
        const auto written = os::write_all(pipe_.get(), piece, "tar");
        if (written || written.error().os_errno() != EPIPE) return written;
        return wait_for_tar();
    }
    beginning_ += piece;
    const auto kind = TRY(first_entry(beginning_));
    if (!kind) return {};
    TRY(start(*kind));
    return take(std::exchange(beginning_, {}));
}

Result<> Unpacker::start(CopiedKind kind)
{
    std::signal(SIGPIPE, SIG_IGN); // an end of tar is an error of ours
    if (!target_.archive) TRY(give_up_device_nodes());
    switch (TRY(landing_of(kind, source_.contents_only, present_, target_.path))) {
    case Landing::Into: return start_tar(target_.path, false);
    case Landing::Contents: return start_tar(target_.path, source_.path != "/");
    case Landing::As: break;
    }
    TRY(stage());
    return start_tar(staging_, false);
}

Result<> Unpacker::stage()
{
    std::string path = TRY(absolute_here(target_.path)); // a link's goal is replaced, not the link
    const auto slash = path.rfind('/');
    constexpr std::size_t kDigits = 12;
    std::string staging = cat(path.substr(0, slash), "/.coppice-cp-", random_hex(kDigits));
    TRY(os::make_directory(os::kCwd, staging, 0700));
    staging_ = std::move(staging);
    target_.path = std::move(path);
    return {};
}

Result<> Unpacker::start_tar(const std::string& directory, bool strip)
{
    std::vector<std::string> arguments{"tar", "-x", "-f", "-", "-C", directory, "--numeric-owner"};
    if (strip) arguments.emplace_back("--strip-components=1");
    for (const char* const option : {"--same-owner", "--same-permissions", "--acls", "--xattrs", "--xattrs-include=*"})
        if (target_.archive) arguments.emplace_back(option);
    for (const char* const option : {"--no-same-owner", "--no-same-permissions"})
        if (!target_.archive) arguments.emplace_back(option);
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "make a pipe");
    const os::Fd input{ends[0]};
    os::Fd output{ends[1]};
    auto started = os::spawn({.arguments = std::move(arguments),
                              .more_variables = {},
                              .input = input.get(),
                              .output = STDERR_FILENO,
                              .error = STDERR_FILENO});
    if (!started) return fail(std::move(started).error().hint("install tar"));
    tar_ = *std::move(started);
    pipe_ = std::move(output);
    return {};
}

Result<> Unpacker::wait_for_tar()
{
    pipe_.reset();
    has_ended_ = true;
    const auto end = TRY(tar_.wait());
    if (end.code == 0) return {};
    return fail(Error{ErrorKind::Os, cat("tar failed with status ", end.code)}.hint(
        target_.archive ? "see what it said" : "device nodes are copied with --archive alone"));
}

Result<> Unpacker::finish()
{
    if (!pipe_.is_open() && !has_ended_) return fail(ErrorKind::Corrupt, "the answer of coppiced is no tar archive");
    if (!has_ended_) TRY(wait_for_tar());
    if (staging_.empty()) return {};
    return move_into_place();
}

Result<> Unpacker::move_into_place()
{
    std::string from = staging_;
    if (source_.path != "/") {
        const auto names = TRY(os::list_directory(os::kCwd, staging_));
        if (names.size() != 1) return fail(ErrorKind::Corrupt, "the archive holds more than was asked for");
        from += cat('/', names.front());
    } else if (::chmod(staging_.c_str(), 0755) < 0) {
        return fail_os(errno, cat("set the mode of ", staging_));
    }
    if (::rename(from.c_str(), target_.path.c_str()) < 0)
        return fail_os(errno, cat("rename ", from, " to ", target_.path));
    if (source_.path == "/") staging_.clear();
    return {};
}

} // namespace coppice::cli
