#pragma once

#include "coppice/security/digest.h"
#include "coppice/store/ids.h"

#include <concepts>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace coppice::store {

/// Bytes for a BLOB column, borrowed.
struct Blob {
    std::string_view bytes;
};

class Connection;

/// A running statement. Goes back to its connection's cache when the object goes.
class [[nodiscard]] Query {
public:
    Query(Query&& other) noexcept : connection_{other.connection_}, statement_{std::exchange(other.statement_, nullptr)}
    {
    }
    Query& operator=(Query&&) = delete;
    ~Query();

    /// To the next row; false behind the last one.
    Result<bool> next();
    /// Columns of the current row. Types are the schema's (STRICT); text and blobs are borrowed until the next call.
    [[nodiscard]] std::int64_t integer(int column) const;
    [[nodiscard]] std::uint64_t size(int column) const { return static_cast<std::uint64_t>(integer(column)); }
    [[nodiscard]] std::string_view text(int column) const;
    [[nodiscard]] std::string_view blob(int column) const;
    [[nodiscard]] bool is_null(int column) const;
    /// A blob column that CHECK keeps at the right size; Corrupt otherwise.
    template <typename N> Result<N> name(int column) const
    {
        const auto raw = blob(column);
        if (raw.size() != N::kBytes) return fail(ErrorKind::Corrupt, "store.db: a digest or id of a wrong length");
        return N::from_raw(raw);
    }
    template <typename N> Result<std::optional<N>> optional_name(int column) const
    {
        if (is_null(column)) return std::optional<N>{};
        return std::optional<N>{TRY(name<N>(column))};
    }

private:
    friend class Connection;
    Query(Connection& connection, sqlite3_stmt* statement) : connection_{&connection}, statement_{statement} {}
    Result<> bind(int index, std::int64_t value);
    Result<> bind(int index, std::string_view text);
    Result<> bind(int index, Blob blob);
    Result<> bind(int index, std::nullptr_t);
    template <std::integral T> Result<> bind(int index, T value)
    {
        return bind(index, static_cast<std::int64_t>(value));
    }
    template <typename E>
        requires std::is_enum_v<E>
    Result<> bind(int index, E value)
    {
        return bind(index, static_cast<std::int64_t>(value));
    }
    template <typename K, std::size_t S> Result<> bind(int index, const security::Name<K, S>& name)
    {
        return bind(index, Blob{name.raw()});
    }
    template <typename T> Result<> bind(int index, const std::optional<T>& value)
    {
        return value ? bind(index, *value) : bind(index, nullptr);
    }
    Connection* connection_;
    sqlite3_stmt* statement_;
};

/// One SQLite connection; one thread at a time. Failures by kind: Unavailable (disk full, locked), Corrupt, Conflict
/// (a constraint: something is named twice, or still needed), Denied, Unsupported, Os (I/O).
class Connection {
public:
    enum class Mode : unsigned char { Create, ReadWrite, ReadOnly };
    static Result<std::unique_ptr<Connection>> open(const std::string& path, Mode mode);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();

    /// @param sql a literal or another string that outlives the connection; compiled once
    template <typename... Values> Result<Query> query(std::string_view sql, const Values&... values)
    {
        auto statement = TRY(prepare(sql));
        int index = 0;
        Result<> bound;
        ((bound = bound ? statement.bind(++index, values) : std::move(bound)), ...);
        if (!bound) return fail(std::move(bound).error());
        return statement;
    }
    /// Runs a statement without rows; how many rows it changed.
    template <typename... Values> Result<std::int64_t> execute(std::string_view sql, const Values&... values)
    {
        auto statement = TRY(query(sql, values...));
        TRY(statement.next());
        return changes();
    }
    /// The first column of the first row as a number; 0 when there is none.
    template <typename... Values> Result<std::int64_t> number(std::string_view sql, const Values&... values)
    {
        auto statement = TRY(query(sql, values...));
        return TRY(statement.next()) ? statement.integer(0) : 0;
    }
    /// Several statements without parameters.
    Result<> run(const std::string& script);

    [[nodiscard]] bool in_transaction() const;
    [[nodiscard]] std::int64_t last_id() const;

private:
    friend class Query;
    explicit Connection(sqlite3* db) : db_{db} {}
    Result<Query> prepare(std::string_view sql);
    [[nodiscard]] std::int64_t changes() const;
    [[nodiscard]] Error error(std::string_view doing) const;

    struct Cached {
        sqlite3_stmt* statement;
        bool busy;
    };
    sqlite3* db_;
    std::multimap<std::string, Cached, std::less<>> cache_;
};

} // namespace coppice::store
