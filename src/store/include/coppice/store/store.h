#pragma once

#include "coppice/security/signing.h"
#include "coppice/store/ids.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

namespace coppice::store {

class Connection; // SQL is the module's own business
class Packs;
class Database;
class CheckedManifests;

/// A consistent state of the database, for reading. Lives as long as the call that it was given to.
class View {
public:
    explicit View(Connection& connection) : connection_{&connection} {}
    [[nodiscard]] Connection& db() const { return *connection_; }

private:
    Connection* connection_;
};

/// A transaction: all of its changes come true together, or none.
class Txn : public View {
public:
    using View::View;
};

/// Names a request, so that it takes effect once however often it is repeated.
struct RequestKey {
    std::string key;         ///< 1 to 128 bytes, chosen by the requester
    std::string fingerprint; ///< of what is asked for: the same key with another one is refused
};

/// The store of chunks, layers and snapshots in a directory. See docs/design/storage.md.
///
/// Safe from any thread; calls block on the disk. One process at a time has it open.
class Store {
public:
    /// A file in the root by which those who copy a whole machine leave a store out, such as
    /// `tar --exclude-tag-under`: the node's private key is in it. Every `open` sees to it that it is there.
    static constexpr const char* kTagFile = "COPPICE-STORE.TAG";
    /// Opens the store in `root` or makes one: in a temporary directory beside it, renamed when it is complete. Cleans
    /// up what a killed process left (tmp/, tails of packs). Migrates older databases. Errors: Conflict (another
    /// process has it open), Corrupt, Unsupported (made by a newer version), Unavailable (disk full)
    static Result<std::unique_ptr<Store>> open(const std::string& root);
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;
    ~Store();

    /// Runs `body(const View&)` on one state of the database and returns its result. Does not wait for writers.
    template <typename Body> auto read(Body&& body) const -> std::invoke_result_t<Body, const View&>
    {
        std::invoke_result_t<Body, const View&> result = fail(ErrorKind::Os, "nothing was read");
        auto done = read_by([&](const View& view) -> Result<> {
            result = body(view);
            return {};
        });
        if (!done) return fail(std::move(done).error());
        return result;
    }

    /// Runs `body(Txn&)` in the writing thread and returns when its changes are on the disk. Requests of several
    /// threads share a transaction; one that fails takes back its own changes only. `body` must not call the store, and
    /// may run again when another request broke their common transaction.
    ///
    /// Errors: those of `body`; Unavailable (disk full; or an I/O error at COMMIT: the outcome is unknown then, which
    /// the hint says: repeat it with its key)
    template <typename Body> auto write(Body&& body) -> std::invoke_result_t<Body, Txn&>
    {
        std::invoke_result_t<Body, Txn&> result = fail(ErrorKind::Os, "nothing was written");
        auto done = write_by([&](Txn& txn) -> Result<> {
            result = body(txn);
            if (!result) return fail(result.error());
            return {};
        });
        if (!done) return fail(std::move(done).error());
        return result;
    }

    /// As `write`, at most once per key: a repeated request gets the text that the first one returned.
    /// Errors: Conflict (the key belongs to another request); a request that failed has left nothing and may be
    /// repeated
    Result<std::string> write_once(const RequestKey& request, const std::function<Result<std::string>(Txn&)>& body);

    [[nodiscard]] const StoreId& id() const;
    [[nodiscard]] const security::SigningKey& node_key() const;
    /// What this node's signatures were found to say.
    [[nodiscard]] const CheckedManifests& manifests() const;
    [[nodiscard]] const std::string& root() const;
    /// Open on the store's directory; borrowed.
    [[nodiscard]] int directory() const;

    /// The packs, and what guards layer directories: for this module's own sources.
    [[nodiscard]] Packs& packs() const;
    struct LayerGuard;
    [[nodiscard]] LayerGuard& layer_guard() const;

private:
    struct Parts;
    explicit Store(std::unique_ptr<Parts> parts);
    Result<> read_by(const std::function<Result<>(const View&)>& body) const;
    Result<> write_by(const std::function<Result<>(Txn&)>& body);
    std::unique_ptr<Parts> parts_;
};

/// What the request of this key returned, if it took effect. Errors: as write_once
Result<std::optional<std::string>> find_outcome(const View& view, const RequestKey& request);
/// Remembers what it returned, in the transaction of its change. For requests that do more than change rows; it is for
/// the caller to have asked find_outcome before.
Result<> keep_outcome(Txn& txn, const RequestKey& request, std::string_view outcome);

} // namespace coppice::store
