#include "sandbox/state_store.h"

#include <sqlite3.h>
#include <string.h>

#include "common/error.h"

enum { SCHEMA_VERSION = 1, BUSY_TIMEOUT_MS = 5000 };

struct StateStore {
    GMutex lock; /* one connection, one statement at a time */
    sqlite3 *database;
    char *path;
};

typedef sqlite3_stmt Statement;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Statement, sqlite3_finalize)

/* migrations[n] turns version n into n + 1; a database that is new starts at 0. */
static const char *const migrations[SCHEMA_VERSION] = {
    "CREATE TABLE pods (id TEXT PRIMARY KEY, config BLOB NOT NULL, handler TEXT NOT NULL,"
    " created_at_ns INTEGER NOT NULL, state INTEGER NOT NULL, problem TEXT, ips TEXT, cni_config TEXT, "
    "cni_result TEXT,"
    " share_attached INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE pod_disks (pod_id TEXT NOT NULL, lun INTEGER NOT NULL, diff_id TEXT NOT NULL,"
    " PRIMARY KEY (pod_id, lun)) WITHOUT ROWID;"
    "CREATE TABLE containers (id TEXT PRIMARY KEY, pod_id TEXT NOT NULL, config BLOB NOT NULL,"
    " image_id TEXT NOT NULL, diff_ids TEXT NOT NULL, state INTEGER NOT NULL, created_at_ns INTEGER NOT NULL,"
    " started_at_ns INTEGER NOT NULL, finished_at_ns INTEGER NOT NULL, exit_code INTEGER NOT NULL, reason "
    "TEXT,"
    " message TEXT, uid INTEGER NOT NULL, gid INTEGER NOT NULL, groups TEXT, stop_signal INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE INDEX containers_of_pod ON containers (pod_id);",
};

void pod_record_free(PodRecord *record)
{
    if (record == NULL)
        return;
    g_free(record->id);
    g_clear_pointer(&record->config, g_bytes_unref);
    g_free(record->handler);
    g_free(record->problem);
    g_free(record->ips);
    g_free(record->cni_config);
    g_free(record->cni_result);
    g_free(record);
}

void container_record_free(ContainerRecord *record)
{
    if (record == NULL)
        return;
    g_free(record->id);
    g_free(record->pod_id);
    g_clear_pointer(&record->config, g_bytes_unref);
    g_free(record->image_id);
    g_free(record->diff_ids);
    g_free(record->reason);
    g_free(record->message);
    g_free(record->groups);
    g_free(record);
}

void pod_disk_record_free(PodDiskRecord *record)
{
    if (record == NULL)
        return;
    g_free(record->diff_id);
    g_free(record);
}

static gboolean fail_sqlite(StateStore *store, const char *doing, GError **error)
{
    int code = sqlite3_errcode(store->database);

    return fail(error, code == SQLITE_FULL ? STATUS_RESOURCE_EXHAUSTED : STATUS_INTERNAL,
                "cannot %s the state database %s: %s", doing, store->path, sqlite3_errmsg(store->database));
}

static gboolean execute(StateStore *store, const char *sql, const char *doing, GError **error)
{
    if (sqlite3_exec(store->database, sql, NULL, NULL, NULL) != SQLITE_OK)
        return fail_sqlite(store, doing, error);
    return TRUE;
}

static gboolean schema_migrate(StateStore *store, GError **error)
{
    g_autoptr(Statement) statement = NULL;
    int version;

    if (sqlite3_prepare_v2(store->database, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        return fail_sqlite(store, "read", error);
    version = sqlite3_column_int(statement, 0);
    g_clear_pointer(&statement, sqlite3_finalize);
    if (version > SCHEMA_VERSION)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "the state database %s has schema version %d; this crivirtd knows only %d: it was made "
                    "by a newer "
                    "one",
                    store->path, version, SCHEMA_VERSION);
    for (; version < SCHEMA_VERSION; version++) {
        g_autofree char *sql = g_strdup_printf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT;",
                                               migrations[version], version + 1);

        if (!execute(store, sql, "migrate", error))
            return FALSE;
    }
    return TRUE;
}

StateStore *state_store_open(const char *path, GError **error)
{
    StateStore *store = g_new0(StateStore, 1);

    g_mutex_init(&store->lock);
    store->path = g_strdup(path);
    if (sqlite3_open_v2(path, &store->database,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                        NULL) != SQLITE_OK) {
        fail_sqlite(store, "open", error);
        state_store_close(store);
        return NULL;
    }
    sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS);
    /* NORMAL: a power cut may lose the last rows, but it ends every guest as well. */
    if (!execute(store, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;", "open", error) ||
        !schema_migrate(store, error)) {
        state_store_close(store);
        return NULL;
    }
    return store;
}

void state_store_close(StateStore *store)
{
    if (store == NULL)
        return;
    sqlite3_close(store->database);
    g_mutex_clear(&store->lock);
    g_free(store->path);
    g_free(store);
}

/* ---- writing ---- */

typedef struct {
    enum { BIND_TEXT, BIND_INT, BIND_BLOB } type;
    const char *text; /* NULL: SQL NULL */
    gint64 number;
    GBytes *blob;
} Bind;
#define TEXT(value) ((Bind){.type = BIND_TEXT, .text = (value)})
#define INT(value) ((Bind){.type = BIND_INT, .number = (gint64)(value)})
#define BLOB(value) ((Bind){.type = BIND_BLOB, .blob = (value)})

static int bind_one(Statement *statement, int index, const Bind *bind)
{
    gconstpointer data;
    gsize length;

    switch (bind->type) {
    case BIND_TEXT:
        return sqlite3_bind_text(statement, index, bind->text, -1, SQLITE_STATIC);
    case BIND_INT:
        return sqlite3_bind_int64(statement, index, bind->number);
    default:
        data = g_bytes_get_data(bind->blob, &length);
        /* An empty message is a blob without bytes, not NULL. */
        return sqlite3_bind_blob64(statement, index, length > 0 ? data : "", length, SQLITE_STATIC);
    }
}

static Statement *prepare(StateStore *store, const char *sql, const Bind *binds, int n_binds, GError **error)
{
    g_autoptr(Statement) statement = NULL;

    if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) != SQLITE_OK) {
        fail_sqlite(store, "use", error);
        return NULL;
    }
    for (int i = 0; i < n_binds; i++)
        if (bind_one(statement, i + 1, &binds[i]) != SQLITE_OK) {
            fail_sqlite(store, "use", error);
            return NULL;
        }
    return g_steal_pointer(&statement);
}

static gboolean write_row(StateStore *store, const char *sql, const Bind *binds, int n_binds, GError **error)
{
    g_autoptr(Statement) statement = NULL;
    gboolean good = TRUE;

    g_mutex_lock(&store->lock);
    statement = prepare(store, sql, binds, n_binds, error);
    if (statement == NULL)
        good = FALSE;
    else if (sqlite3_step(statement) != SQLITE_DONE)
        good = fail_sqlite(store, "write", error);
    g_clear_pointer(&statement, sqlite3_finalize);
    g_mutex_unlock(&store->lock);
    return good;
}

gboolean state_store_put_pod(StateStore *store, const PodRecord *record, GError **error)
{
    const Bind binds[] = {TEXT(record->id),           BLOB(record->config),     TEXT(record->handler),
                          INT(record->created_at_ns), INT(record->state),       TEXT(record->problem),
                          TEXT(record->ips),          TEXT(record->cni_config), TEXT(record->cni_result),
                          INT(record->share_attached)};

    return write_row(store, "INSERT OR REPLACE INTO pods VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", binds,
                     G_N_ELEMENTS(binds), error);
}

gboolean state_store_put_container(StateStore *store, const ContainerRecord *record, GError **error)
{
    const Bind binds[] = {
        TEXT(record->id),           TEXT(record->pod_id),       BLOB(record->config),
        TEXT(record->image_id),     TEXT(record->diff_ids),     INT(record->state),
        INT(record->created_at_ns), INT(record->started_at_ns), INT(record->finished_at_ns),
        INT(record->exit_code),     TEXT(record->reason),       TEXT(record->message),
        INT(record->uid),           INT(record->gid),           TEXT(record->groups),
        INT(record->stop_signal),
    };

    return write_row(
        store, "INSERT OR REPLACE INTO containers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        binds, G_N_ELEMENTS(binds), error);
}

gboolean state_store_put_disk(StateStore *store, const char *pod_id, guint lun, const char *diff_id,
                              GError **error)
{
    const Bind binds[] = {TEXT(pod_id), INT(lun), TEXT(diff_id)};

    return write_row(store, "INSERT OR REPLACE INTO pod_disks VALUES (?, ?, ?)", binds, G_N_ELEMENTS(binds),
                     error);
}

gboolean state_store_delete_container(StateStore *store, const char *container_id, GError **error)
{
    const Bind binds[] = {TEXT(container_id)};

    return write_row(store, "DELETE FROM containers WHERE id = ?", binds, G_N_ELEMENTS(binds), error);
}

gboolean state_store_delete_pod(StateStore *store, const char *pod_id, GError **error)
{
    const Bind binds[] = {TEXT(pod_id)};

    /* The pod's row goes last: as long as it is there, the rest is found and deleted again. */
    return write_row(store, "DELETE FROM containers WHERE pod_id = ?", binds, G_N_ELEMENTS(binds), error) &&
           write_row(store, "DELETE FROM pod_disks WHERE pod_id = ?", binds, G_N_ELEMENTS(binds), error) &&
           write_row(store, "DELETE FROM pods WHERE id = ?", binds, G_N_ELEMENTS(binds), error);
}

/* ---- reading ---- */

static char *column_text(Statement *row, int column)
{
    return g_strdup((const char *)sqlite3_column_text(row, column));
}

static GBytes *column_bytes(Statement *row, int column)
{
    return g_bytes_new(sqlite3_column_blob(row, column), (gsize)sqlite3_column_bytes(row, column));
}

static gpointer read_pod(Statement *row)
{
    PodRecord *record = g_new0(PodRecord, 1);

    record->id = column_text(row, 0);
    record->config = column_bytes(row, 1);
    record->handler = column_text(row, 2);
    record->created_at_ns = sqlite3_column_int64(row, 3);
    record->state = (PodState)sqlite3_column_int(row, 4);
    record->problem = column_text(row, 5);
    record->ips = column_text(row, 6);
    record->cni_config = column_text(row, 7);
    record->cni_result = column_text(row, 8);
    record->share_attached = sqlite3_column_int(row, 9);
    return record;
}

static gpointer read_container(Statement *row)
{
    ContainerRecord *record = g_new0(ContainerRecord, 1);

    record->id = column_text(row, 0);
    record->pod_id = column_text(row, 1);
    record->config = column_bytes(row, 2);
    record->image_id = column_text(row, 3);
    record->diff_ids = column_text(row, 4);
    record->state = (ContainerState)sqlite3_column_int(row, 5);
    record->created_at_ns = sqlite3_column_int64(row, 6);
    record->started_at_ns = sqlite3_column_int64(row, 7);
    record->finished_at_ns = sqlite3_column_int64(row, 8);
    record->exit_code = sqlite3_column_int(row, 9);
    record->reason = column_text(row, 10);
    record->message = column_text(row, 11);
    record->uid = sqlite3_column_int64(row, 12);
    record->gid = sqlite3_column_int64(row, 13);
    record->groups = column_text(row, 14);
    record->stop_signal = sqlite3_column_int(row, 15);
    return record;
}

static gpointer read_disk(Statement *row)
{
    PodDiskRecord *record = g_new0(PodDiskRecord, 1);

    record->lun = (guint)sqlite3_column_int(row, 0);
    record->diff_id = column_text(row, 1);
    return record;
}

static gboolean load_rows(StateStore *store, const char *sql, const char *pod_id,
                          gpointer (*read)(Statement *), GDestroyNotify destroy, GPtrArray **ret_rows,
                          GError **error)
{
    g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(destroy);
    g_autoptr(Statement) statement = NULL;
    const Bind binds[] = {TEXT(pod_id)};
    int code;

    g_mutex_lock(&store->lock);
    statement = prepare(store, sql, binds, pod_id != NULL ? 1 : 0, error);
    if (statement == NULL) {
        g_mutex_unlock(&store->lock);
        return FALSE;
    }
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        g_ptr_array_add(rows, read(statement));
    if (code != SQLITE_DONE)
        fail_sqlite(store, "read", error);
    g_clear_pointer(&statement, sqlite3_finalize);
    g_mutex_unlock(&store->lock);
    if (code != SQLITE_DONE)
        return FALSE;
    *ret_rows = g_steal_pointer(&rows);
    return TRUE;
}

gboolean state_store_load_pods(StateStore *store, GPtrArray **ret_pods, GError **error)
{
    return load_rows(store, "SELECT * FROM pods ORDER BY created_at_ns", NULL, read_pod,
                     (GDestroyNotify)pod_record_free, ret_pods, error);
}

gboolean state_store_load_containers(StateStore *store, const char *pod_id, GPtrArray **ret_containers,
                                     GError **error)
{
    return load_rows(store, "SELECT * FROM containers WHERE pod_id = ? ORDER BY created_at_ns", pod_id,
                     read_container, (GDestroyNotify)container_record_free, ret_containers, error);
}

gboolean state_store_load_disks(StateStore *store, const char *pod_id, GPtrArray **ret_disks, GError **error)
{
    return load_rows(store, "SELECT lun, diff_id FROM pod_disks WHERE pod_id = ?", pod_id, read_disk,
                     (GDestroyNotify)pod_disk_record_free, ret_disks, error);
}
