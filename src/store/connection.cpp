#include "connection.h"

#include "coppice/base/text.h"
#include "coppice/base/time.h"

#include <sqlite3.h>

#include <ctime>

namespace coppice::store {

namespace {

constexpr int kBusyMs = 10'000; // only one process writes; what waits here are checkpoints and recovery

ErrorKind kind_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_NOMEM: return ErrorKind::Unavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return ErrorKind::Corrupt;
    case SQLITE_CONSTRAINT: return ErrorKind::Conflict;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return ErrorKind::Denied;
    case SQLITE_CANTOPEN: return ErrorKind::NotFound;
    default: return ErrorKind::Os;
    }
}

const char* hint_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL: return "the disk is full: free some space";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return "run coppice system fsck; restore store.db from a backup if it cannot be read";
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return "another program has the database open: end it and try again";
    // Also what a full disk looks like when it shows at a sync.
    case SQLITE_IOERR: return "see whether there is free space, and look for errors of the disk in the kernel's log";
    default: return "";
    }
}

} // namespace

std::string to_rfc3339(Time time)
{
    const auto count = nanoseconds(time);
    return coppice::to_rfc3339(timespec{.tv_sec = count / 1'000'000'000, .tv_nsec = count % 1'000'000'000});
}

Time now()
{
    timespec ts{};
    ::clock_gettime(CLOCK_REALTIME, &ts);
    return Time{std::int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec};
}

Error Connection::error(std::string_view doing) const
{
    const int code = sqlite3_extended_errcode(db_);
    Error error{kind_of(code), cat("store.db: ", doing, ": ", sqlite3_errmsg(db_))};
    const std::string_view hint = hint_of(code);
    return hint.empty() ? std::move(error) : std::move(error).hint(hint);
}

Result<std::unique_ptr<Connection>> Connection::open(const std::string& path, Mode mode)
{
    const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                      (mode == Mode::ReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) |
                      (mode == Mode::Create ? SQLITE_OPEN_CREATE : 0);
    sqlite3* db = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &db, flags, nullptr);
    if (db == nullptr) return fail(ErrorKind::Unavailable, "store.db: no memory to open it");
    std::unique_ptr<Connection> connection{new Connection{db}};
    if (code != SQLITE_OK) return fail(connection->error("open"));
    sqlite3_busy_timeout(db, kBusyMs);
    sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    TRY(connection->run(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF"));
    // Chunk rows come in the order of their hashes, which is none: what writes wants the index in memory.
    TRY(connection->run(mode == Mode::ReadOnly ? "PRAGMA cache_size=-8192" : "PRAGMA cache_size=-65536"));
    return connection;
}

Connection::~Connection()
{
    for (auto& [sql, cached] : cache_)
        sqlite3_finalize(cached.statement);
    sqlite3_close_v2(db_);
}

Result<Query> Connection::prepare(std::string_view sql)
{
    for (auto [it, end] = cache_.equal_range(sql); it != end; ++it) {
        if (it->second.busy) continue; // the same statement is running further up
        it->second.busy = true;
        return Query{*this, it->second.statement};
    }
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &statement,
                           nullptr) != SQLITE_OK)
        return fail(error(sql.substr(0, 60)));
    cache_.emplace(std::string{sql}, Cached{.statement = statement, .busy = true});
    return Query{*this, statement};
}

Result<> Connection::run(const std::string& script)
{
    if (sqlite3_exec(db_, script.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
        return fail(error(std::string_view{script}.substr(0, 60)));
    return {};
}

bool Connection::in_transaction() const { return sqlite3_get_autocommit(db_) == 0; }
std::int64_t Connection::last_id() const { return sqlite3_last_insert_rowid(db_); }
std::int64_t Connection::changes() const { return sqlite3_changes64(db_); }

Query::~Query()
{
    if (statement_ == nullptr) return;
    sqlite3_reset(statement_); // its result was seen by next()
    sqlite3_clear_bindings(statement_);
    for (auto [it, end] = connection_->cache_.equal_range(std::string_view{sqlite3_sql(statement_)}); it != end; ++it)
        if (it->second.statement == statement_) it->second.busy = false;
}

Result<bool> Query::next()
{
    const int code = sqlite3_step(statement_);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return fail(connection_->error(std::string_view{sqlite3_sql(statement_)}.substr(0, 60)));
}

std::int64_t Query::integer(int column) const { return sqlite3_column_int64(statement_, column); }
bool Query::is_null(int column) const { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

std::string_view Query::text(int column) const
{
    const auto* const text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return text == nullptr ? std::string_view{}
                           : std::string_view{text, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string_view Query::blob(int column) const
{
    const auto* const data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
    return data == nullptr ? std::string_view{}
                           : std::string_view{data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column))};
}

// Bound values are borrowed: they live in the arguments of query(), which for rows read later must outlive it; so
// copied.
Result<> Query::bind(int index, std::int64_t value)
{
    if (sqlite3_bind_int64(statement_, index, value) != SQLITE_OK) return fail(connection_->error("bind"));
    return {};
}
Result<> Query::bind(int index, std::string_view text)
{
    if (sqlite3_bind_text64(statement_, index, text.data() == nullptr ? "" : text.data(), text.size(), SQLITE_TRANSIENT,
                            SQLITE_UTF8) != SQLITE_OK)
        return fail(connection_->error("bind"));
    return {};
}
Result<> Query::bind(int index, Blob blob)
{
    if (sqlite3_bind_blob64(statement_, index, blob.bytes.data() == nullptr ? "" : blob.bytes.data(), blob.bytes.size(),
                            SQLITE_TRANSIENT) != SQLITE_OK)
        return fail(connection_->error("bind"));
    return {};
}
Result<> Query::bind(int index, std::nullptr_t)
{
    if (sqlite3_bind_null(statement_, index) != SQLITE_OK) return fail(connection_->error("bind"));
    return {};
}

} // namespace coppice::store
