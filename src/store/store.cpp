#include "coppice/store/store.h"

#include "chunk_rows.h"
#include "coppice/base/text.h"
#include "coppice/os/disk.h"
#include "coppice/os/file.h"
#include "coppice/os/lock.h"
#include "coppice/security/sha256.h"
#include "coppice/store/checked_manifests.h"
#include "database.h"
#include "guards.h"
#include "packs.h"
#include "schema.h"

#include <array>
#include <cerrno>
#include <sys/stat.h>

namespace coppice::store {

namespace {

constexpr std::array kDirectories{"packs", "layers", "cache", "frozen", "working", "keys", "tmp"};
constexpr std::size_t kKeyMaxBytes = 128;
constexpr std::string_view kTagText = "A store of Coppice, with a private key: not to be copied as files.\n";

/// Whether something is here that only a database could explain.
Result<bool> holds_data(int root)
{
    for (const char* const name : {"packs", "layers", "frozen"})
        if (os::exists(root, name) && !TRY(os::list_directory(root, name)).empty()) return true;
    return os::exists(root, "store.db-wal");
}

/// The database comes last: with it the store exists.
Result<> make_store(int root, const std::string& path)
{
    if (TRY(holds_data(root)))
        return fail(Error{ErrorKind::Corrupt, cat(path, " has chunks or layers, but no store.db")}.hint(
            "restore store.db from a backup, or move the rest away to begin anew"));
    for (const char* const name : kDirectories)
        if (!os::exists(root, name)) TRY(os::make_directory(root, name, 0700));
    if (!os::exists(root, "keys/node.key")) {
        const auto keys = TRY(os::open_at(root, "keys", O_RDONLY | O_DIRECTORY));
        TRY(security::SigningKey::make().save(keys.get(), "node"));
    }
    TRY(os::remove_tree(root, "tmp/new"));
    TRY(os::make_directory(root, "tmp/new", 0700));
    {
        auto connection = TRY(Connection::open(cat(path, "/tmp/new/store.db"), Connection::Mode::Create));
        TRY(migrate(*connection));
        TRY(connection->execute("INSERT INTO store(one, id, created) VALUES(1, ?, ?)", security::make_random<StoreId>(),
                                now()));
        TRY(connection->run("PRAGMA wal_checkpoint(TRUNCATE)"));
    }
    const auto file = TRY(os::open_at(root, "tmp/new/store.db", O_RDONLY));
    TRY(os::sync_data(file.get(), "store.db"));
    TRY(os::rename_at(root, "tmp/new/store.db", root, "store.db", false));
    return os::sync_directory(root, path);
}

Result<> empty_directory(int root, const std::string& name)
{
    for (const std::string& entry : TRY(os::list_directory(root, name)))
        TRY(os::remove_tree(root, cat(name, '/', entry)));
    return {};
}

/// Packs that a killed process was writing: what is behind the committed bytes goes.
Result<> close_packs(Connection& db, const Packs& packs)
{
    struct Open {
        std::uint64_t number, bytes;
    };
    std::vector<Open> open;
    {
        auto query = TRY(db.query("SELECT id, bytes FROM pack WHERE closed = 0"));
        while (TRY(query.next()))
            open.push_back({.number = query.size(0), .bytes = query.size(1)});
    }
    const auto files = TRY(packs.list());
    for (const auto& [number, bytes] : open)
        if (bytes == kPackHeaderBytes) TRY(packs.remove(number));
    if (!open.empty()) TRY(packs.sync());
    for (const auto& [number, bytes] : open) {
        const auto file = files.find(number);
        if (bytes == kPackHeaderBytes) {
            TRY(db.execute("DELETE FROM pack WHERE id = ?", number));
            continue;
        }
        if (file != files.end() && file->second > bytes) TRY(packs.cut(number, bytes));
        TRY(db.execute("UPDATE pack SET closed = 1 WHERE id = ?", number));
    }
    return {};
}

Result<StoreId> read_id(Connection& db)
{
    auto query = TRY(db.query("SELECT id FROM store"));
    if (!TRY(query.next())) return fail(ErrorKind::Corrupt, "store.db: it has no id");
    return query.name<StoreId>(0);
}

Result<> check_key(const std::string& key)
{
    if (key.empty() || key.size() > kKeyMaxBytes)
        return fail(ErrorKind::Invalid, cat("an idempotency key has 1 to ", kKeyMaxBytes, " bytes"));
    return {};
}

struct FingerprintKind {};

} // namespace

struct Store::Parts {
    std::string root;
    os::Fd directory;
    os::FileLock lock;
    StoreId id;
    security::SigningKey key;
    CheckedManifests manifests;
    std::unique_ptr<Packs> packs;
    LayerGuard guard;
    std::unique_ptr<Database> database; // last: its thread ends first
};

Result<std::unique_ptr<Store>> Store::open(const std::string& root)
{
    TRY(os::make_directories(root, 0700));
    auto directory = TRY(os::open_at(os::kCwd, root, O_RDONLY | O_DIRECTORY));
    auto lock = TRY(os::FileLock::try_take(directory.get(), "lock"));
    if (!lock)
        return fail(Error{ErrorKind::Conflict, cat("another process has the store ", root, " open")}.hint(
            "talk to coppiced, or end it first"));
    if (!os::exists(directory.get(), kTagFile)) TRY(os::replace_file(directory.get(), kTagFile, kTagText));
    if (!os::exists(directory.get(), "store.db"))
        TRY_DOING(cat("make the store ", root), make_store(directory.get(), root));
    // A backup may leave out what can be made again; and the database is nobody else's to read (it holds configurations
    // with their environments): SQLite gives its log the same mode.
    for (const char* const name : {"cache", "tmp"})
        if (!os::exists(directory.get(), name)) TRY(os::make_directory(directory.get(), name, 0700));
    if (::fchmodat(directory.get(), "store.db", 0600, 0) < 0) return fail_os(errno, cat("protect ", root, "/store.db"));
    TRY(empty_directory(directory.get(), "tmp"));

    auto packs = std::make_unique<Packs>(TRY(os::open_at(directory.get(), "packs", O_RDONLY | O_DIRECTORY)));
    StoreId id;
    const std::string path = root + "/store.db";
    {
        const auto connection = TRY(Connection::open(path, Connection::Mode::ReadWrite));
        TRY(migrate(*connection));
        id = TRY(read_id(*connection));
        TRY(close_packs(*connection, *packs));
    }
    const auto keys = TRY(os::open_at(directory.get(), "keys", O_RDONLY | O_DIRECTORY));
    auto key = TRY(security::SigningKey::load(keys.get(), "node"));
    auto database = TRY(Database::open(path));
    // The name of the database's log must last before anything in it counts; SQLite ignores the error of its own sync.
    TRY(os::sync_directory(directory.get(), root));
    const auto node = key.public_key();
    std::unique_ptr<Parts> parts{new Parts{root,
                                           std::move(directory),
                                           *std::move(lock),
                                           id,
                                           std::move(key),
                                           CheckedManifests{node},
                                           std::move(packs),
                                           {},
                                           std::move(database)}};
    return std::unique_ptr<Store>{new Store{std::move(parts)}};
}

Store::Store(std::unique_ptr<Parts> parts) : parts_{std::move(parts)} {}
Store::~Store() = default;

Result<> Store::read_by(const std::function<Result<>(const View&)>& body) const { return parts_->database->read(body); }
Result<> Store::write_by(const std::function<Result<>(Txn&)>& body) { return parts_->database->write(body); }

namespace {

Result<security::Digest<FingerprintKind>> check_request(const RequestKey& request)
{
    TRY(check_key(request.key));
    return security::sha256<security::Digest<FingerprintKind>>(request.fingerprint);
}

} // namespace

Result<std::optional<std::string>> find_outcome(const View& view, const RequestKey& request)
{
    const auto fingerprint = TRY(check_request(request));
    auto query = TRY(view.db().query("SELECT fingerprint, outcome FROM request WHERE key = ?", request.key));
    if (!TRY(query.next())) return std::optional<std::string>{};
    if (query.blob(0) == fingerprint.raw()) return std::optional{std::string{query.text(1)}};
    return fail(Error{ErrorKind::Conflict, "this idempotency key was used for another request"}.hint(
        "use a new key for a new request"));
}

Result<> keep_outcome(Txn& txn, const RequestKey& request, std::string_view outcome)
{
    const auto fingerprint = TRY(check_request(request));
    TRY(txn.db().execute("INSERT INTO request(key, fingerprint, outcome, created) VALUES(?, ?, ?, ?)", request.key,
                         fingerprint, outcome, now()));
    return {};
}

Result<std::string> Store::write_once(const RequestKey& request, const std::function<Result<std::string>(Txn&)>& body)
{
    return write([&](Txn& txn) -> Result<std::string> {
        if (auto before = TRY(find_outcome(txn, request))) return *std::move(before);
        auto outcome = TRY(body(txn));
        TRY(keep_outcome(txn, request, outcome));
        return outcome;
    });
}

const StoreId& Store::id() const { return parts_->id; }
const security::SigningKey& Store::node_key() const { return parts_->key; }
const CheckedManifests& Store::manifests() const { return parts_->manifests; }
const std::string& Store::root() const { return parts_->root; }
int Store::directory() const { return parts_->directory.get(); }
Packs& Store::packs() const { return *parts_->packs; }
Store::LayerGuard& Store::layer_guard() const { return parts_->guard; }

} // namespace coppice::store
