#include "schema.h"

#include "coppice/base/text.h"

#include <array>

namespace coppice::store {

namespace {

// What the tables mean: docs/format/database.md. Steps are never changed once released; a new one is added.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE store(
  one     INTEGER PRIMARY KEY CHECK(one = 1),
  id      BLOB NOT NULL CHECK(length(id) = 16),
  created INTEGER NOT NULL
) STRICT;

CREATE TABLE session(
  id      INTEGER PRIMARY KEY,
  key     TEXT NOT NULL UNIQUE CHECK(length(key) BETWEEN 1 AND 128),
  touched INTEGER NOT NULL
) STRICT;

CREATE TABLE pack(
  id     INTEGER PRIMARY KEY AUTOINCREMENT CHECK(id > 0),
  bytes  INTEGER NOT NULL CHECK(bytes BETWEEN 32 AND 268435456),
  closed INTEGER NOT NULL CHECK(closed IN (0, 1))
) STRICT;

CREATE TABLE chunk(
  id           INTEGER PRIMARY KEY,
  plain        BLOB NOT NULL UNIQUE CHECK(length(plain) = 32),
  stored       BLOB NOT NULL CHECK(length(stored) = 32),
  plain_bytes  INTEGER NOT NULL CHECK(plain_bytes BETWEEN 4096 AND 262144 AND plain_bytes % 4096 = 0),
  stored_bytes INTEGER NOT NULL CHECK(stored_bytes BETWEEN 1 AND plain_bytes),
  codec        INTEGER NOT NULL CHECK(codec IN (0, 1)),
  pack         INTEGER NOT NULL REFERENCES pack(id),
  offset       INTEGER NOT NULL CHECK(offset >= 128),
  trashed      INTEGER
) STRICT;
CREATE UNIQUE INDEX chunk_place ON chunk(pack, offset);
CREATE INDEX chunk_trashed ON chunk(trashed) WHERE trashed IS NOT NULL;

CREATE TABLE pin(
  session INTEGER NOT NULL REFERENCES session(id) ON DELETE CASCADE,
  chunk   INTEGER NOT NULL REFERENCES chunk(id),
  PRIMARY KEY(session, chunk)
) STRICT, WITHOUT ROWID;
CREATE INDEX pin_chunk ON pin(chunk);

CREATE TABLE hole(
  pack   INTEGER NOT NULL REFERENCES pack(id),
  offset INTEGER NOT NULL,
  bytes  INTEGER NOT NULL CHECK(bytes > 0),
  PRIMARY KEY(pack, offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE layer(
  id             INTEGER PRIMARY KEY,
  digest         BLOB NOT NULL UNIQUE CHECK(length(digest) = 32),
  metadata       BLOB NOT NULL CHECK(length(metadata) = 32),
  metadata_bytes INTEGER NOT NULL CHECK(metadata_bytes >= 0),
  tbl            BLOB NOT NULL CHECK(length(tbl) = 32),
  tbl_bytes      INTEGER NOT NULL CHECK(tbl_bytes >= 0),
  root           BLOB NOT NULL CHECK(length(root) = 32),
  blob_bytes     INTEGER NOT NULL CHECK(blob_bytes >= 0),
  chunks         INTEGER NOT NULL CHECK(chunks >= 0),
  trashed        INTEGER
) STRICT;

CREATE TABLE layer_chunk(
  layer INTEGER NOT NULL REFERENCES layer(id) ON DELETE CASCADE,
  chunk INTEGER NOT NULL REFERENCES chunk(id),
  PRIMARY KEY(layer, chunk)
) STRICT, WITHOUT ROWID;
CREATE INDEX layer_chunk_chunk ON layer_chunk(chunk);

CREATE TABLE blob(
  layer  INTEGER PRIMARY KEY REFERENCES layer(id) ON DELETE CASCADE,
  synced INTEGER NOT NULL CHECK(synced IN (0, 1)),
  boot   TEXT NOT NULL
) STRICT;

CREATE TABLE vdisk(
  id      INTEGER PRIMARY KEY,
  uuid    BLOB NOT NULL UNIQUE CHECK(length(uuid) = 16),
  name    TEXT NOT NULL UNIQUE CHECK(length(name) BETWEEN 1 AND 128),
  seq     INTEGER NOT NULL CHECK(seq >= 0),
  epoch   INTEGER NOT NULL CHECK(epoch >= 0),
  created INTEGER NOT NULL
) STRICT;

CREATE TABLE snapshot(
  id       BLOB PRIMARY KEY CHECK(length(id) = 16),
  vdisk    INTEGER NOT NULL REFERENCES vdisk(id),
  parent   BLOB REFERENCES snapshot(id),
  layer    INTEGER REFERENCES layer(id),
  state    INTEGER NOT NULL CHECK(state IN (1, 2, 3)),
  seq      INTEGER NOT NULL CHECK(seq > 0),
  epoch    INTEGER NOT NULL CHECK(epoch >= 0),
  created  INTEGER NOT NULL,
  bytes    INTEGER NOT NULL CHECK(bytes >= 0),
  author   TEXT NOT NULL CHECK(length(author) BETWEEN 1 AND 512),
  message  TEXT NOT NULL,
  config   TEXT NOT NULL,
  manifest BLOB UNIQUE CHECK(length(manifest) = 32),
  envelope BLOB,
  CHECK((state = 3) = (manifest IS NOT NULL) AND (state = 3) = (envelope IS NOT NULL)),
  CHECK(state = 3 OR layer IS NULL),
  CHECK(id != parent)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_parent ON snapshot(parent) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX snapshot_seq ON snapshot(vdisk, seq);
CREATE INDEX snapshot_layer ON snapshot(layer) WHERE layer IS NOT NULL;
CREATE INDEX snapshot_unsealed ON snapshot(state) WHERE state != 3;

CREATE TABLE tag(
  vdisk    INTEGER NOT NULL REFERENCES vdisk(id),
  name     TEXT NOT NULL CHECK(length(name) BETWEEN 1 AND 128),
  snapshot BLOB NOT NULL REFERENCES snapshot(id),
  PRIMARY KEY(vdisk, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_snapshot ON tag(snapshot);

CREATE TABLE version(
  vdisk     INTEGER NOT NULL REFERENCES vdisk(id),
  number    INTEGER NOT NULL CHECK(number > 0),
  snapshot  BLOB NOT NULL REFERENCES snapshot(id),
  state     INTEGER NOT NULL CHECK(state IN (1, 2, 3)),
  scheduled INTEGER,
  pinned    INTEGER NOT NULL CHECK(pinned IN (0, 1)),
  created   INTEGER NOT NULL,
  PRIMARY KEY(vdisk, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_snapshot ON version(snapshot);
CREATE UNIQUE INDEX version_pinned ON version(vdisk) WHERE pinned = 1;

CREATE TABLE working(
  name     TEXT PRIMARY KEY CHECK(length(name) BETWEEN 1 AND 128),
  snapshot BLOB NOT NULL REFERENCES snapshot(id),
  created  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX working_snapshot ON working(snapshot);

CREATE TABLE lease(
  id       TEXT PRIMARY KEY CHECK(length(id) BETWEEN 1 AND 128),
  snapshot BLOB NOT NULL REFERENCES snapshot(id),
  expires  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_snapshot ON lease(snapshot);

CREATE TABLE request(
  key         TEXT PRIMARY KEY CHECK(length(key) BETWEEN 1 AND 128),
  fingerprint BLOB NOT NULL CHECK(length(fingerprint) = 32),
  outcome     TEXT NOT NULL,
  created     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX request_created ON request(created);
)sql";

constexpr const char* kVersion2 = R"sql(
CREATE TABLE shortcut(
  snapshot BLOB PRIMARY KEY REFERENCES snapshot(id) ON DELETE CASCADE,
  base     BLOB NOT NULL REFERENCES snapshot(id),
  layer    INTEGER NOT NULL REFERENCES layer(id),
  envelope BLOB NOT NULL,
  CHECK(snapshot != base)
) STRICT, WITHOUT ROWID;
CREATE INDEX shortcut_base ON shortcut(base);
CREATE INDEX shortcut_layer ON shortcut(layer);
)sql";

constexpr const char* kVersion3 = R"sql(
ALTER TABLE vdisk ADD COLUMN versions INTEGER NOT NULL DEFAULT 0 CHECK(versions >= 0);
UPDATE vdisk SET versions = coalesce((SELECT max(number) FROM version WHERE version.vdisk = vdisk.id), 0);
)sql";

/// What lists do not read, and is long, went to a table of its own: rows of kilobytes made a history of thousands slow.
constexpr const char* kVersion4 = R"sql(
CREATE TABLE document(
  snapshot BLOB PRIMARY KEY REFERENCES snapshot(id) ON DELETE CASCADE,
  config   TEXT NOT NULL,
  envelope BLOB
) STRICT;
INSERT INTO document(snapshot, config, envelope) SELECT id, config, envelope FROM snapshot;
CREATE TABLE compact(
  id       BLOB PRIMARY KEY CHECK(length(id) = 16),
  vdisk    INTEGER NOT NULL REFERENCES vdisk(id),
  parent   BLOB REFERENCES snapshot(id),
  layer    INTEGER REFERENCES layer(id),
  state    INTEGER NOT NULL CHECK(state IN (1, 2, 3)),
  seq      INTEGER NOT NULL CHECK(seq > 0),
  epoch    INTEGER NOT NULL CHECK(epoch >= 0),
  depth    INTEGER NOT NULL CHECK(depth > 0),
  created  INTEGER NOT NULL,
  bytes    INTEGER NOT NULL CHECK(bytes >= 0),
  author   TEXT NOT NULL CHECK(length(author) BETWEEN 1 AND 512),
  message  TEXT NOT NULL,
  manifest BLOB UNIQUE CHECK(length(manifest) = 32),
  CHECK((state = 3) = (manifest IS NOT NULL)),
  CHECK(state = 3 OR layer IS NULL),
  CHECK(id != parent)
) STRICT, WITHOUT ROWID;
INSERT INTO compact SELECT s.id, vdisk, parent, layer, state, seq, epoch, coalesce(d.depth, 1), created, bytes, author, message,
  manifest FROM snapshot s LEFT JOIN ()sql" COPPICE_SNAPSHOT_DEPTHS R"sql() d ON d.id = s.id;
DROP TABLE snapshot;
ALTER TABLE compact RENAME TO snapshot;
CREATE INDEX snapshot_parent ON snapshot(parent) WHERE parent IS NOT NULL;
CREATE UNIQUE INDEX snapshot_seq ON snapshot(vdisk, seq);
CREATE INDEX snapshot_layer ON snapshot(layer) WHERE layer IS NOT NULL;
CREATE INDEX snapshot_unsealed ON snapshot(state) WHERE state != 3;
)sql";

constexpr const char* kVersion5 = R"sql(
CREATE TABLE origin(
  snapshot BLOB PRIMARY KEY REFERENCES snapshot(id) ON DELETE CASCADE,
  working  TEXT NOT NULL CHECK(length(working) BETWEEN 1 AND 128),
  schedule TEXT NOT NULL CHECK(length(schedule) <= 128)
) STRICT, WITHOUT ROWID;
CREATE INDEX origin_working ON origin(working);
)sql";

constexpr std::array<const char*, kSchemaVersion> kSteps{kVersion1, kVersion2, kVersion3, kVersion4, kVersion5};

} // namespace

Result<> migrate(Connection& connection)
{
    const auto application = TRY(connection.number("PRAGMA application_id"));
    const auto version = TRY(connection.number("PRAGMA user_version"));
    const bool empty = TRY(connection.number("SELECT count(*) FROM sqlite_schema")) == 0;
    if (application != kApplicationId && !(empty && application == 0))
        return fail(ErrorKind::Corrupt, "store.db is not the database of a store (application_id differs)");
    if (version > kSchemaVersion)
        return fail(Error{ErrorKind::Unsupported,
                          cat("store.db has schema version ", version, ", this program knows ", kSchemaVersion)}
                        .hint("use a newer coppice"));
    if (version == kSchemaVersion) return {};
    // A table that others refer to is replaced by another of its name; a transaction cannot switch this.
    TRY(connection.run("PRAGMA foreign_keys=OFF"));
    for (auto step = version; step < kSchemaVersion; ++step) {
        const auto script =
            cat("BEGIN IMMEDIATE;", kSteps[static_cast<std::size_t>(step)], "PRAGMA application_id = ", kApplicationId,
                "; PRAGMA user_version = ", step + 1, "; COMMIT;");
        if (auto done = connection.run(script); !done) {
            if (connection.in_transaction()) (void)connection.run("ROLLBACK").has_value();
            return fail(std::move(done).error().with(cat("migrate to schema version ", step + 1)));
        }
    }
    return connection.run("PRAGMA foreign_keys=ON");
}

} // namespace coppice::store
