#include "coppice/storage/background.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/store/blob.h"
#include "coppice/store/collect.h"

#include <sys/resource.h>

namespace coppice::storage {

namespace {
constexpr std::chrono::hours kFirstCollection{1};
constexpr int kNice = 10; // threads that it starts inherit it
} // namespace

Background::Background(const Parts& parts, Options options)
    : parts_{parts}, options_{std::move(options)}, thread_{[this] { run(); }}
{
}

Background::~Background()
{
    {
        const std::lock_guard lock{mutex_};
        ending_ = true;
    }
    changed_.notify_one();
    thread_.join();
}

void Background::wake()
{
    {
        const std::lock_guard lock{mutex_};
        woken_ = true;
    }
    changed_.notify_one();
}

bool Background::is_ending() const
{
    const std::lock_guard lock{mutex_};
    return ending_;
}

Result<> Background::seal()
{
    const auto sealed = TRY(parts_.sealer.seal_all([this] { return !is_ending(); }));
    for (const store::SnapshotId& id : sealed.done) {
        const auto snapshot =
            TRY(parts_.store.read([&](const store::View& view) { return store::find_snapshot(view, id); }));
        if (snapshot) options_.sealed(*snapshot);
    }
    for (const store::SnapshotId& id : sealed.doubtful)
        if (told_.insert(id).second)
            log::warn("storage", "a snapshot may have holes since a power cut and is not sealed by itself",
                      {{"snapshot", id.hex()}, {"do", "look into it, then: coppice snapshot rm, or seal --accept"}});
    if (sealed.failed.empty()) return {};
    const auto& [id, error] = sealed.failed.front();
    return fail(Error{error}.with(cat("seal snapshot ", id.hex())));
}

Result<> Background::flatten()
{
    const auto flattened = TRY(parts_.flattener.flatten_all([this] { return !is_ending(); }));
    if (flattened.failed.empty()) return {};
    const auto& [id, error] = flattened.failed.front();
    return fail(Error{error}.with(cat("flatten what snapshot ", id.hex(), " comes from")));
}

bool Background::work(bool collects)
{
    bool good = true;
    // One that fails is no reason to leave the others undone.
    const auto attempt = [&](std::string_view what, const std::function<Result<>()>& task) {
        if (is_ending()) return;
        const auto done = task();
        if (done || is_ending()) return;
        good = false;
        log::warn("storage", "work in the background failed; it is tried again",
                  {{"work", std::string{what}}, {"error", done.error().line()}});
    };
    attempt("sealing", [&] { return seal(); });
    attempt("removal of what has become layers", [&]() -> Result<> {
        TRY(parts_.sealer.remove_sealed_directories());
        return {};
    });
    attempt("deletion of what was taken away", [&]() -> Result<> {
        TRY(parts_.layers.sweep());
        return parts_.sealer.sweep();
    });
    attempt("shortening deep stacks", [&] { return flatten(); });
    attempt("syncing of blobs", [&] { return store::settle_blobs(parts_.store, [this] { return !is_ending(); }); });
    if (collects)
        attempt("collection", [&]() -> Result<> {
            TRY(store::collect(parts_.store));
            return {};
        });
    return good;
}

void Background::run()
{
    using Clock = std::chrono::steady_clock;
    ::setpriority(PRIO_PROCESS, 0, kNice); // of this thread; without it the work is done all the same
    auto next_collection = Clock::now() + kFirstCollection;
    auto next_try = Clock::time_point::max(); // of what failed
    for (;;) {
        {
            std::unique_lock lock{mutex_};
            changed_.wait_until(lock, std::min(next_collection, next_try), [&] { return woken_ || ending_; });
            if (ending_) return;
            woken_ = false;
        }
        const bool collects = Clock::now() >= next_collection;
        if (collects) next_collection = Clock::now() + options_.collection;
        next_try = work(collects) ? Clock::time_point::max() : Clock::now() + options_.retry;
    }
}

} // namespace coppice::storage
