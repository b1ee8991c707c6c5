#include "sandbox/state/state_store.h"

#include <sqlite3.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"

enum { SCHEMA_VERSION = 3, BUSY_TIMEOUT_MS = 5000 };

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
    "ALTER TABLE pods ADD COLUMN boot_vcpus INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE pods ADD COLUMN vcpus INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE pods ADD COLUMN max_vcpus INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE pods ADD COLUMN boot_memory_bytes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE pods ADD COLUMN memory_bytes INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE pods ADD COLUMN max_memory_bytes INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE pods ADD COLUMN kind TEXT NOT NULL DEFAULT 'vm';",
};

/* ---- what records are made of ---- */

/* A field of a record, and the column of the same name: a row of state_store.def. */
typedef struct {
    const char *name;
    enum { COLUMN_TEXT, COLUMN_INT, COLUMN_BLOB } type; /* char *, any whole number, GBytes * */
    gsize offset;
    gsize int_size; /* of an INT */
} Column;

/* Rows of a table that are records of one type. */
typedef struct {
    const char *name;
    const char *order;
    gsize record_size;
    const Column *columns;
    guint n_columns;
} Table;

#define INT_SIZE_TEXT(field) 0
#define INT_SIZE_BLOB(field) 0
#define INT_SIZE_INT(field) sizeof(field)
#define COLUMN(Record, field, kind)                                                                          \
    {#field, COLUMN_##kind, G_STRUCT_OFFSET(Record, field), INT_SIZE_##kind(((Record *)NULL)->field)},
static const Column pod_columns[] = {
#define POD_COLUMN(field, kind) COLUMN(PodRecord, field, kind)
#include "sandbox/state/state_store.def"
};
static const Column container_columns[] = {
#define CONTAINER_COLUMN(field, kind) COLUMN(ContainerRecord, field, kind)
#include "sandbox/state/state_store.def"
};
static const Column disk_columns[] = {
#define DISK_COLUMN(field, kind) COLUMN(PodDiskRecord, field, kind)
#include "sandbox/state/state_store.def"
};

static const Table pods = {"pods", "created_at_ns", sizeof(PodRecord), pod_columns,
                           G_N_ELEMENTS(pod_columns)};
static const Table containers = {"containers", "created_at_ns", sizeof(ContainerRecord), container_columns,
                                 G_N_ELEMENTS(container_columns)};
static const Table pod_disks = {"pod_disks", "lun", sizeof(PodDiskRecord), disk_columns,
                                G_N_ELEMENTS(disk_columns)};

static gpointer column_field(const Column *column, gconstpointer record)
{
    return (char *)(gpointer)record + column->offset;
}

static void record_free(const Table *table, gpointer record)
{
    if (record == NULL)
        return;
    for (guint i = 0; i < table->n_columns; i++) {
        gpointer field = column_field(&table->columns[i], record);

        if (table->columns[i].type == COLUMN_TEXT)
            g_free(*(char **)field);
        else if (table->columns[i].type == COLUMN_BLOB)
            g_clear_pointer((GBytes **)field, g_bytes_unref);
    }
    g_free(record);
}

void pod_record_free(PodRecord *record)
{
    record_free(&pods, record);
}

void container_record_free(ContainerRecord *record)
{
    record_free(&containers, record);
}

void pod_disk_record_free(PodDiskRecord *record)
{
    record_free(&pod_disks, record);
}

/* "a, b, c", or as many question marks. */
static char *column_list(const Table *table, gboolean names)
{
    GString *list = g_string_new(NULL);

    for (guint i = 0; i < table->n_columns; i++)
        g_string_append_printf(list, "%s%s", i > 0 ? ", " : "", names ? table->columns[i].name : "?");
    return g_string_free(list, FALSE);
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
    /* It holds what pods are configured with, secrets in environment variables among it. */
    if (!file_make_private(path, error)) {
        state_store_close(store);
        return NULL;
    }
    if (sqlite3_open_v2(path, &store->database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL) !=
        SQLITE_OK) {
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

/* ---- statements ---- */

static Statement *prepare(StateStore *store, const char *sql, GError **error)
{
    Statement *statement = NULL;

    if (sqlite3_prepare_v2(store->database, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_sqlite(store, "use", error);
    return statement;
}

static gint64 int_read(const Column *column, gconstpointer field)
{
    return column->int_size == sizeof(gint64) ? *(const gint64 *)field : *(const gint32 *)field;
}

static void int_write(const Column *column, gpointer field, gint64 value)
{
    if (column->int_size == sizeof(gint64))
        *(gint64 *)field = value;
    else
        *(gint32 *)field = (gint32)value;
}

static int column_bind(Statement *statement, int index, const Column *column, gconstpointer record)
{
    gconstpointer field = column_field(column, record);
    gconstpointer data;
    gsize length;

    switch (column->type) {
    case COLUMN_TEXT:
        return sqlite3_bind_text(statement, index, *(char *const *)field, -1, SQLITE_STATIC);
    case COLUMN_INT:
        return sqlite3_bind_int64(statement, index, int_read(column, field));
    default:
        data = g_bytes_get_data(*(GBytes *const *)field, &length);
        /* An empty message is a blob without bytes, not NULL. */
        return sqlite3_bind_blob64(statement, index, length > 0 ? data : "", length, SQLITE_STATIC);
    }
}

static void column_read(Statement *row, int index, const Column *column, gpointer record)
{
    gpointer field = column_field(column, record);

    if (column->type == COLUMN_TEXT)
        *(char **)field = g_strdup((const char *)sqlite3_column_text(row, index));
    else if (column->type == COLUMN_INT)
        int_write(column, field, sqlite3_column_int64(row, index));
    else
        *(GBytes **)field =
            g_bytes_new(sqlite3_column_blob(row, index), (gsize)sqlite3_column_bytes(row, index));
}

/* ---- writing ---- */

/* Locked. */
static gboolean write_record(StateStore *store, const Table *table, gconstpointer record, GError **error)
{
    g_autofree char *names = column_list(table, TRUE);
    g_autofree char *values = column_list(table, FALSE);
    g_autofree char *sql =
        g_strdup_printf("INSERT OR REPLACE INTO %s (%s) VALUES (%s)", table->name, names, values);
    g_autoptr(Statement) statement = prepare(store, sql, error);

    if (statement == NULL)
        return FALSE;
    for (guint i = 0; i < table->n_columns; i++)
        if (column_bind(statement, (int)i + 1, &table->columns[i], record) != SQLITE_OK)
            return fail_sqlite(store, "use", error);
    return sqlite3_step(statement) == SQLITE_DONE || fail_sqlite(store, "write", error);
}

static gboolean put_record(StateStore *store, const Table *table, gconstpointer record, GError **error)
{
    gboolean good;

    g_mutex_lock(&store->lock);
    good = write_record(store, table, record, error);
    g_mutex_unlock(&store->lock);
    return good;
}

gboolean state_store_put_pod(StateStore *store, const PodRecord *record, GError **error)
{
    return put_record(store, &pods, record, error);
}

gboolean state_store_put_container(StateStore *store, const ContainerRecord *record, GError **error)
{
    return put_record(store, &containers, record, error);
}

gboolean state_store_put_disk(StateStore *store, const char *pod_id, guint lun, const char *diff_id,
                              GError **error)
{
    const PodDiskRecord record = {.pod_id = (char *)pod_id, .lun = lun, .diff_id = (char *)diff_id};

    return put_record(store, &pod_disks, &record, error);
}

/* The rows of any table whose column says key. */
static gboolean delete_rows(StateStore *store, const char *table, const char *column, const char *key,
                            GError **error)
{
    g_autofree char *sql = g_strdup_printf("DELETE FROM %s WHERE %s = ?", table, column);
    g_autoptr(Statement) statement = NULL;
    gboolean good;

    g_mutex_lock(&store->lock);
    statement = prepare(store, sql, error);
    good = statement != NULL && ((sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC) == SQLITE_OK &&
                                  sqlite3_step(statement) == SQLITE_DONE) ||
                                 fail_sqlite(store, "write", error));
    g_clear_pointer(&statement, sqlite3_finalize);
    g_mutex_unlock(&store->lock);
    return good;
}

gboolean state_store_delete_container(StateStore *store, const char *container_id, GError **error)
{
    return delete_rows(store, "containers", "id", container_id, error);
}

gboolean state_store_delete_disk(StateStore *store, const char *pod_id, guint lun, GError **error)
{
    g_autofree char *columns = g_strdup_printf("lun = %u AND pod_id", lun);

    return delete_rows(store, "pod_disks", columns, pod_id, error);
}

gboolean state_store_delete_pod(StateStore *store, const char *pod_id, GError **error)
{
    /* The pod's row goes last: as long as it is there, the rest is found and deleted again. */
    return delete_rows(store, "containers", "pod_id", pod_id, error) &&
           delete_rows(store, "pod_disks", "pod_id", pod_id, error) &&
           delete_rows(store, "pods", "id", pod_id, error);
}

/* ---- reading ---- */

static gpointer read_record(Statement *row, const Table *table)
{
    gpointer record = g_malloc0(table->record_size);

    for (guint i = 0; i < table->n_columns; i++)
        column_read(row, (int)i, &table->columns[i], record);
    return record;
}

/* Locked. pod_id NULL: all rows. */
static gboolean read_rows(StateStore *store, const Table *table, const char *pod_id, GPtrArray *rows,
                          GError **error)
{
    g_autofree char *names = column_list(table, TRUE);
    g_autofree char *sql = g_strdup_printf("SELECT %s FROM %s %s ORDER BY %s", names, table->name,
                                           pod_id != NULL ? "WHERE pod_id = ?" : "", table->order);
    g_autoptr(Statement) statement = prepare(store, sql, error);
    int code;

    if (statement == NULL)
        return FALSE;
    if (pod_id != NULL && sqlite3_bind_text(statement, 1, pod_id, -1, SQLITE_STATIC) != SQLITE_OK)
        return fail_sqlite(store, "use", error);
    while ((code = sqlite3_step(statement)) == SQLITE_ROW)
        g_ptr_array_add(rows, read_record(statement, table));
    return code == SQLITE_DONE || fail_sqlite(store, "read", error);
}

static gboolean load_records(StateStore *store, const Table *table, const char *pod_id,
                             GDestroyNotify destroy, GPtrArray **ret_records, GError **error)
{
    g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func(destroy);
    gboolean good;

    g_mutex_lock(&store->lock);
    good = read_rows(store, table, pod_id, records, error);
    g_mutex_unlock(&store->lock);
    if (good)
        *ret_records = g_steal_pointer(&records);
    return good;
}

gboolean state_store_load_pods(StateStore *store, GPtrArray **ret_pods, GError **error)
{
    return load_records(store, &pods, NULL, (GDestroyNotify)pod_record_free, ret_pods, error);
}

gboolean state_store_load_containers(StateStore *store, const char *pod_id, GPtrArray **ret_containers,
                                     GError **error)
{
    return load_records(store, &containers, pod_id, (GDestroyNotify)container_record_free, ret_containers,
                        error);
}

gboolean state_store_load_disks(StateStore *store, const char *pod_id, GPtrArray **ret_disks, GError **error)
{
    return load_records(store, &pod_disks, pod_id, (GDestroyNotify)pod_disk_record_free, ret_disks, error);
}
