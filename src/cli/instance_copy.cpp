#include "instance_copy.h"

#include "coppice/base/text.h"
#include "coppice/export/pack_tree.h"
#include "coppice/import/unpack_tar.h"
#include "coppice/instance/visit.h"
#include "coppice/os/file.h"
#include "interrupt.h"
#include "unpack.h"

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <unistd.h>

namespace coppice::cli {

namespace {

struct Pipe {
    os::Fd reading, writing;
};

Result<Pipe> make_pipe()
{
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail_os(errno, "make a pipe");
    return Pipe{os::Fd{ends[0]}, os::Fd{ends[1]}};
}

class PipeSink final : public vdisk::ByteSink {
public:
    explicit PipeSink(const os::Fd& pipe) : pipe_{&pipe} {}
    Result<> write(std::string_view bytes) override { return os::write_all(pipe_->get(), bytes, "the archive"); }

private:
    const os::Fd* pipe_;
};

/// Whoever reads has said why it went.
bool has_reader_gone(const Result<>& written) { return !written && written.error().os_errno() == EPIPE; }

template <typename Take> Result<> read_pieces(int from, Take take)
{
    std::string buffer(1U << 18, '\0');
    for (;;) {
        const auto got = os::retry_eintr([&] { return ::read(from, buffer.data(), buffer.size()); });
        if (got < 0) return fail_os(errno, "read an archive");
        if (got == 0) return {};
        TRY(take(std::string_view{buffer}.substr(0, static_cast<std::size_t>(got))));
    }
}

/// What `source` is of ours, links at its end not followed: as it will be packed.
Result<CopiedKind> kind_of(const std::string& path)
{
    const auto status = TRY(os::find_status(os::kCwd, path, false));
    if (!status) return fail(ErrorKind::NotFound, cat(path, " is not there"));
    return S_ISDIR(status->st_mode) ? CopiedKind::Directory : CopiedKind::File;
}

/// The path itself, or where the links lead that are in it. In the root of whoever calls.
std::string resolved(const std::string& path)
{
    const std::unique_ptr<char, decltype(&std::free)> real{::realpath(path.c_str(), nullptr), &std::free};
    return real ? real.get() : path;
}

/// How an archive of one thing lands at `place`, as seen inside.
Result<imports::UnpackTar> landing_at(const std::string& place, CopiedKind kind, bool contents_only)
{
    const auto status = TRY(os::find_status(os::kCwd, place));
    const auto present = !status ? Present::Nothing : S_ISDIR(status->st_mode) ? Present::Directory : Present::File;
    switch (TRY(landing_of(kind, contents_only, present, place))) {
    case Landing::Into: return imports::UnpackTar{.directory = place};
    case Landing::Contents: return imports::UnpackTar{.directory = place, .first = ""};
    case Landing::As: break;
    }
    auto path = resolved(place);
    while (path.size() > 1 && path.ends_with('/'))
        path.pop_back();
    const auto slash = path.rfind('/');
    return imports::UnpackTar{.directory = path.substr(0, slash) + '/', .first = path.substr(slash + 1)};
}

} // namespace

Result<> copy_out(const instance::InstanceStore& store, const PlaceName& place, const std::string& destination,
                  bool archive)
{
    const CopySource source = copy_source(place.path);
    const bool to_output = destination == "-";
    if (to_output && ::isatty(STDOUT_FILENO) == 1)
        return fail(Error{ErrorKind::Invalid, "an archive is nothing for a terminal"}.hint("redirect the output"));
    std::optional<Unpacker> unpacker;
    if (!to_output) unpacker.emplace(TRY(Unpacker::open(source, {.path = destination, .archive = archive})));
    auto pipe = TRY(make_pipe());
    auto visit = TRY(instance::Visit::begin(store, place.reference, {pipe.writing.get()}, [&]() -> Result<> {
        std::signal(SIGPIPE, SIG_IGN);
        PipeSink sink{pipe.writing};
        auto packed = exports::pack_tree(source.contents_only ? resolved(source.path + "/") : source.path, sink);
        return has_reader_gone(packed) ? Result<>{} : packed;
    }));
    pipe.writing.reset();
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) // what is half there goes
        heed(signal);
    TRY(read_pieces(pipe.reading.get(), [&](std::string_view piece) -> Result<> {
        if (interruptions() > 0) return fail(ErrorKind::Unavailable, "interrupted");
        return to_output ? os::write_all(STDOUT_FILENO, piece, "standard output") : unpacker->take(piece);
    }));
    TRY(visit.finish());
    return to_output ? Result<>{} : unpacker->finish();
}

Result<> copy_in(const instance::InstanceStore& store, const std::string& source, const PlaceName& place, bool archive)
{
    const bool from_input = source == "-";
    const bool contents_only = source == "." || source.ends_with("/.");
    const std::string path = from_input ? "" : absolute_path(source, TRY(working_directory()));
    const auto kind = from_input ? CopiedKind::Directory : TRY(kind_of(path));
    auto pipe = TRY(make_pipe());
    auto visit = TRY(instance::Visit::begin(store, place.reference, {pipe.reading.get()}, [&]() -> Result<> {
        auto how = from_input ? imports::UnpackTar{.directory = place.path}
                              : TRY(landing_at(place.path, kind, contents_only || path == "/"));
        how.archive = archive;
        return imports::unpack_tar(std::move(pipe.reading), how);
    }));
    pipe.reading.reset();
    std::signal(SIGPIPE, SIG_IGN);
    PipeSink sink{pipe.writing};
    auto written = from_input ? read_pieces(STDIN_FILENO, [&sink](std::string_view piece) { return sink.write(piece); })
                              : exports::pack_tree(path, sink);
    pipe.writing.reset();
    if (!written && !has_reader_gone(written)) return written;
    return visit.finish();
}

} // namespace coppice::cli
