#include "database.h"

#include "coppice/base/log.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

namespace coppice::store {

namespace {

constexpr std::size_t kGroupMax = 128;
constexpr std::size_t kIdleReadersMax = 8;
constexpr const char* kUnknown = "commit: the outcome is unknown, repeat the request with the same idempotency key";

/// Gives the log the length that it grows to anyway, with blocks that are written already. A commit that makes it
/// longer is synced by a journal commit of the file system, which waits for whatever data others have written
/// meanwhile: with ext4 a gigabyte in a branch, for example. Zeros behind the last valid frame mean nothing to SQLite.
Result<> lengthen_log(const std::string& path)
{
    constexpr std::uint64_t kBytes = (4U << 20) + (64U << 10); // a checkpoint begins after 1000 pages
    const auto log = TRY(os::open_at(os::kCwd, path + "-wal", O_RDWR | O_CREAT, 0600));
    struct stat status{};
    if (::fstat(log.get(), &status) < 0) return fail_os(errno, "stat the database's log");
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size >= kBytes) return {};
    if (::lseek(log.get(), 0, SEEK_END) < 0) return fail_os(errno, "seek in the database's log");
    TRY(os::write_all(log.get(), std::string(kBytes - size, '\0'), "the database's log"));
    return os::sync_data(log.get(), "the database's log");
}

} // namespace

Result<std::unique_ptr<Database>> Database::open(std::string path)
{
    if (const auto longer = lengthen_log(path); !longer) // commits are slower; whether the disk is full, they will tell
        log::info("store", "the database's log keeps its length", {{"error", longer.error().line()}});
    std::unique_ptr<Database> database{new Database{std::move(path)}};
    TRY(database->reopen());
    database->thread_ = std::thread{[self = database.get()] { self->write_loop(); }};
    return database;
}

Database::~Database()
{
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    wanted_.notify_all();
    if (thread_.joinable()) thread_.join();
    // The last one to close must be one that can write: it empties the log into the database. In the log a damaged
    // byte would silently take back everything behind it.
    readers_.clear();
    writer_.reset();
}

Result<> Database::reopen()
{
    writer_.reset();
    writer_ = TRY(Connection::open(path_, Connection::Mode::ReadWrite));
    return {};
}

std::uint64_t Database::commits() const
{
    const std::lock_guard lock{mutex_};
    return commits_;
}

Result<> Database::read(const std::function<Result<>(const View&)>& body)
{
    std::unique_ptr<Connection> connection;
    {
        const std::lock_guard lock{mutex_};
        if (!readers_.empty()) {
            connection = std::move(readers_.back());
            readers_.pop_back();
        }
    }
    if (!connection) connection = TRY(Connection::open(path_, Connection::Mode::ReadOnly));
    TRY(connection->execute("BEGIN"));
    auto result = body(View{*connection});
    const auto ended = connection->execute("ROLLBACK"); // nothing was written
    if (ended) {                                        // otherwise the connection is not used again
        const std::lock_guard lock{mutex_};
        if (readers_.size() < kIdleReadersMax) readers_.push_back(std::move(connection));
    } else if (result) {
        return fail(ended.error());
    }
    return result;
}

Result<> Database::write(const std::function<Result<>(Txn&)>& body)
{
    COPPICE_CHECK(std::this_thread::get_id() != thread_.get_id()); // it would wait for itself
    Job job{.body = &body, .result = {}};
    std::unique_lock lock{mutex_};
    jobs_.push_back(&job);
    wanted_.notify_one();
    finished_.wait(lock, [&] { return job.done; });
    return std::move(job.result);
}

void Database::write_loop()
{
    std::unique_lock lock{mutex_};
    for (;;) {
        wanted_.wait(lock, [&] { return stopping_ || !jobs_.empty(); });
        if (jobs_.empty()) return; // stopping, and all is done
        std::vector<Job*> group;
        while (!jobs_.empty() && group.size() < kGroupMax) {
            group.push_back(jobs_.front());
            jobs_.pop_front();
        }
        lock.unlock();
        std::deque<Job*> again;
        run_group(group, again);
        lock.lock();
        jobs_.insert(jobs_.begin(), again.begin(), again.end());
        for (Job* const job : group)
            job->done = true;
        finished_.notify_all();
    }
}

/// Runs the jobs of `group` as one transaction and commits it. Those that must be tried again move to `again`.
void Database::run_group(std::vector<Job*>& group, std::deque<Job*>& again)
{
    if (!writer_) {
        if (auto opened = reopen(); !opened) {
            for (Job* const job : group)
                job->result = fail(opened.error());
            return;
        }
    }
    auto committed = run_jobs(group, again);
    if (committed) return;
    for (Job* const job : group)
        if (job->result) job->result = fail(committed.error());
    writer_.reset(); // what the connection knows of its log after an error is settled by opening it again
}

Result<> Database::run_jobs(std::vector<Job*>& group, std::deque<Job*>& again)
{
    TRY(writer_->execute("BEGIN IMMEDIATE"));
    Txn txn{*writer_};
    bool changed = false;
    // For one job the transaction is savepoint enough; with another one around it each statement of a long job costs
    // more.
    const bool alone = group.size() == 1;
    for (auto it = group.begin(); it != group.end(); ++it) {
        if (!alone) TRY(writer_->execute("SAVEPOINT one"));
        (*it)->result = (*(*it)->body)(txn);
        if (!writer_->in_transaction()) {
            // SQLite has taken everything back (disk full, I/O): this job's error is its own; the others are tried
            // again.
            again.insert(again.end(), group.begin(), it);
            again.insert(again.end(), it + 1, group.end());
            Job* const failed = *it;
            if (failed->result) failed->result = fail(ErrorKind::Os, "store.db: the transaction was taken back");
            group.assign(1, failed);
            for (Job* const job : again)
                job->result = {};
            return {};
        }
        const bool good = (*it)->result.has_value();
        changed = changed || good;
        if (alone) continue;
        if (!good) TRY(writer_->execute("ROLLBACK TO one"));
        TRY(writer_->execute("RELEASE one"));
    }
    if (!changed) {
        TRY(writer_->execute("ROLLBACK"));
        return {};
    }
    if (auto committed = writer_->execute("COMMIT"); !committed) {
        return fail(std::move(committed).error().with(kUnknown));
    }
    const std::lock_guard lock{mutex_};
    ++commits_;
    return {};
}

} // namespace coppice::store
