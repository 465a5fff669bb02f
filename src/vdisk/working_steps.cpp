#include "working_steps.h"

#include "coppice/base/id.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/store/origin.h"
#include "coppice/vdisk/working_layer.h"
#include "made_before.h"
#include "working_files.h"

#include <array>
#include <cerrno>
#include <climits>
#include <unistd.h>

namespace coppice::vdisk {

namespace {

constexpr const char* kNote = "step"; ///< a link whose target says what is going on: it appears at once and whole

constexpr std::array<std::pair<Step::Kind, std::string_view>, 4> kWords{{{Step::Kind::Freeze, "freeze"},
                                                                         {Step::Kind::Rollback, "rollback"},
                                                                         {Step::Kind::Remove, "remove"},
                                                                         {Step::Kind::Capture, "capture"}}};

} // namespace

Result<> note_step(int directory, const Step& step)
{
    for (const auto& [kind, word] : kWords)
        if (kind == step.kind && ::symlinkat(cat(word, ' ', step.snapshot.hex()).c_str(), directory, kNote) < 0)
            return fail_os(errno, "note a step of a working layer");
    return {};
}

Result<std::optional<Step>> find_step(int directory)
{
    std::string text(PATH_MAX, '\0');
    const auto got = ::readlinkat(directory, kNote, text.data(), text.size());
    if (got < 0) {
        if (errno == ENOENT) return std::optional<Step>{};
        return fail_os(errno, "read the note of a working layer");
    }
    text.resize(static_cast<std::size_t>(got));
    for (const auto& [kind, word] : kWords) {
        if (!text.starts_with(cat(word, ' '))) continue;
        Step step{.kind = kind, .snapshot = {}};
        step.snapshot = TRY(store::SnapshotId::parse(std::string_view{text}.substr(word.size() + 1)));
        return std::optional<Step>{step};
    }
    return fail(ErrorKind::Corrupt, cat("the note of a working layer says '", printable(text), "'"));
}

Result<> forget_step(int directory) { return os::remove_file(directory, kNote); }

Result<> discard_directory(int directory, const std::string& path)
{
    return os::rename_at(directory, path, directory, cat(WorkingLayer::kDiscarded, random_hex(8)));
}

Result<os::Fd> open_layer(const store::Store& store, const std::string& name)
{
    return os::open_at(store.directory(), working_name(name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
}

Result<std::optional<store::Snapshot>> find_made(const store::Store& store, const FreezeNote& note)
{
    if (!note.request) return std::optional<store::Snapshot>{};
    return store.read([&](const store::View& view) { return made_before(view, *note.request); });
}

Result<store::Snapshot> add_frozen(store::Txn& txn, const store::SnapshotId& id, const store::Working& working,
                                   const FreezeNote& note)
{
    const auto below = TRY(store::get_snapshot(txn, working.snapshot));
    auto config = note.config.empty() ? TRY(store::config_of(txn, below.id)) : note.config;
    auto made = TRY(store::add_snapshot(txn, {.id = id,
                                              .vdisk = below.vdisk,
                                              .parent = below.id,
                                              .state = store::SnapshotState::Frozen,
                                              .bytes = 0,
                                              .author = note.author,
                                              .message = note.message,
                                              .config = std::move(config)}));
    TRY(store::set_origin(txn, id, {.working = working.name, .schedule = note.schedule}));
    if (note.also) TRY(note.also(txn, made));
    if (note.request) TRY(store::keep_outcome(txn, *note.request, id.hex()));
    return made;
}

} // namespace coppice::vdisk
