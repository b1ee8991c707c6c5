/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/state/state_store.h"

#include <string.h>

#include "common/lock_assert.h"
#include "common/sqlite.h"

struct StateStore {
    GMutex lock; /* there is one connection, and one statement at a time */
    Sqlite *database;
};

/* migrations[n] turns version n into n + 1. A new database has version 0. */
static const char *const migrations[] = {
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
    "ALTER TABLE containers ADD COLUMN guest_id TEXT; UPDATE containers SET guest_id = id;",
    "ALTER TABLE pods ADD COLUMN hibernated INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE pods ADD COLUMN volume_cache TEXT NOT NULL DEFAULT 'auto';",
    "ALTER TABLE pods ADD COLUMN volume_locks INTEGER NOT NULL DEFAULT -1;",
};

/* ---- the fields of records ---- */

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
#define POD_COLUMN(ctype, field, kind) COLUMN(PodRecord, field, kind)
#define POD_DERIVED POD_COLUMN
#include "sandbox/state/state_store.def"
};
static const Column container_columns[] = {
#define CONTAINER_COLUMN(ctype, field, kind) COLUMN(ContainerRecord, field, kind)
#define CONTAINER_DERIVED CONTAINER_COLUMN
#include "sandbox/state/state_store.def"
};
static const Column disk_columns[] = {
#define DISK_COLUMN(ctype, field, kind) COLUMN(PodDiskRecord, field, kind)
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

/* Return: "a, b, c", or as many question marks. */
static char *column_list(const Table *table, gboolean names)
{
    GString *list = g_string_new(NULL);

    for (guint i = 0; i < table->n_columns; i++)
        g_string_append_printf(list, "%s%s", i > 0 ? ", " : "", names ? table->columns[i].name : "?");
    return g_string_free(list, FALSE);
}

StateStore *state_store_open(const char *path, GError **error)
{
    /* Writes are not synchronous: a power failure may lose the last rows, but it ends every guest as well. */
    const SqliteOptions options = {.path = path,
                                   .name = "state database",
                                   .migrations = migrations,
                                   .n_migrations = G_N_ELEMENTS(migrations)};
    Sqlite *database = sqlite_open(&options, error);
    StateStore *store;

    if (database == NULL)
        return NULL;
    store = g_new0(StateStore, 1);
    g_mutex_init(&store->lock);
    store->database = database;
    return store;
}

void state_store_close(StateStore *store)
{
    if (store == NULL)
        return;
    sqlite_close(store->database);
    g_mutex_clear(&store->lock);
    g_free(store);
}

/* ---- columns ---- */

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

static void column_bind(SqliteStatement *statement, int index, const Column *column, gconstpointer record)
{
    gconstpointer field = column_field(column, record);

    switch (column->type) {
    case COLUMN_TEXT:
        sqlite_bind_text(statement, index, *(char *const *)field);
        break;
    case COLUMN_INT:
        sqlite_bind_int(statement, index, int_read(column, field));
        break;
    case COLUMN_BLOB:
        sqlite_bind_bytes(statement, index, *(GBytes *const *)field);
        break;
    }
}

static void column_read(SqliteStatement *row, int index, const Column *column, gpointer record)
{
    gpointer field = column_field(column, record);

    switch (column->type) {
    case COLUMN_TEXT:
        *(char **)field = g_strdup(sqlite_column_text(row, index));
        break;
    case COLUMN_INT:
        int_write(column, field, sqlite_column_int(row, index));
        break;
    case COLUMN_BLOB:
        *(GBytes **)field = sqlite_column_bytes(row, index);
        break;
    }
}

/* ---- writing ---- */

static gboolean write_record_locked(StateStore *store, const Table *table, gconstpointer record,
                                    GError **error)
{
    g_autofree char *names = column_list(table, TRUE);
    g_autofree char *values = column_list(table, FALSE);
    g_autofree char *sql =
        g_strdup_printf("INSERT OR REPLACE INTO %s (%s) VALUES (%s)", table->name, names, values);
    g_autoptr(SqliteStatement) statement = NULL;

    LOCK_ASSERT_HELD(&store->lock);
    statement = sqlite_prepare(store->database, error, sql, "");
    if (statement == NULL)
        return FALSE;
    for (guint i = 0; i < table->n_columns; i++)
        column_bind(statement, (int)i + 1, &table->columns[i], record);
    return sqlite_finish(statement, error);
}

static gboolean put_record(StateStore *store, const Table *table, gconstpointer record, GError **error)
{
    gboolean good;

    g_mutex_lock(&store->lock);
    good = write_record_locked(store, table, record, error);
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

/* Deletes the rows of a table whose column is key. */
static gboolean delete_rows(StateStore *store, const char *table, const char *column, const char *key,
                            GError **error)
{
    g_autofree char *sql = g_strdup_printf("DELETE FROM %s WHERE %s = ?", table, column);
    gboolean good;

    g_mutex_lock(&store->lock);
    good = sqlite_run(store->database, error, sql, "s", key);
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
    /* The pod's row is deleted last: as long as it exists, a restarted daemon deletes the rest again. */
    return delete_rows(store, "containers", "pod_id", pod_id, error) &&
           delete_rows(store, "pod_disks", "pod_id", pod_id, error) &&
           delete_rows(store, "pods", "id", pod_id, error);
}

/* ---- reading ---- */

static gpointer read_record(SqliteStatement *row, const Table *table)
{
    gpointer record = g_malloc0(table->record_size);

    for (guint i = 0; i < table->n_columns; i++)
        column_read(row, (int)i, &table->columns[i], record);
    return record;
}

/* pod_id NULL: all rows. */
static gboolean read_rows_locked(StateStore *store, const Table *table, const char *pod_id, GPtrArray *rows,
                                 GError **error)
{
    g_autofree char *names = column_list(table, TRUE);
    g_autofree char *sql = g_strdup_printf("SELECT %s FROM %s %s ORDER BY %s", names, table->name,
                                           pod_id != NULL ? "WHERE pod_id = ?" : "", table->order);
    g_autoptr(SqliteStatement) statement = NULL;
    gboolean has_row = TRUE;

    LOCK_ASSERT_HELD(&store->lock);
    statement = sqlite_prepare(store->database, error, sql, pod_id != NULL ? "s" : "", pod_id);
    if (statement == NULL)
        return FALSE;
    while (has_row) {
        if (!sqlite_step(statement, &has_row, error))
            return FALSE;
        if (has_row)
            g_ptr_array_add(rows, read_record(statement, table));
    }
    return TRUE;
}

static gboolean load_records(StateStore *store, const Table *table, const char *pod_id,
                             GDestroyNotify destroy, GPtrArray **ret_records, GError **error)
{
    g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func(destroy);
    gboolean good;

    g_mutex_lock(&store->lock);
    good = read_rows_locked(store, table, pod_id, records, error);
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
