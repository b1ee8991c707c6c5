/* SPDX-License-Identifier: Apache-2.0 */
#include "common/sqlite.h"

#include <sqlite3.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"

enum { BUSY_TIMEOUT_MS = 5000 };

struct Sqlite {
    sqlite3 *connection;
    char *path;
    char *name;
};

struct SqliteStatement {
    Sqlite *database;
    sqlite3_stmt *prepared;
    int bind_code; /* the first failure, until sqlite_step() reports it */
};

static gboolean sqlite_fail(Sqlite *database, const char *doing, GError **error)
{
    int code = sqlite3_errcode(database->connection);

    return fail(error, code == SQLITE_FULL ? STATUS_RESOURCE_EXHAUSTED : STATUS_INTERNAL,
                "cannot %s the %s %s: %s", doing, database->name, database->path,
                sqlite3_errmsg(database->connection));
}

void sqlite_close(Sqlite *database)
{
    if (database == NULL)
        return;
    sqlite3_close(database->connection);
    g_free(database->path);
    g_free(database->name);
    g_free(database);
}

static gboolean execute(Sqlite *database, const char *sql, const char *doing, GError **error)
{
    return sqlite3_exec(database->connection, sql, NULL, NULL, NULL) == SQLITE_OK ||
           sqlite_fail(database, doing, error);
}

gboolean sqlite_execute(Sqlite *database, const char *sql, GError **error)
{
    return execute(database, sql, "use", error);
}

/* ---- statements ---- */

void sqlite_statement_free(SqliteStatement *statement)
{
    if (statement == NULL)
        return;
    sqlite3_finalize(statement->prepared);
    g_free(statement);
}

static void keep_failure(SqliteStatement *statement, int code)
{
    if (statement->bind_code == SQLITE_OK)
        statement->bind_code = code;
}

void sqlite_bind_text(SqliteStatement *statement, int index, const char *text)
{
    keep_failure(statement, sqlite3_bind_text(statement->prepared, index, text, -1, SQLITE_TRANSIENT));
}

void sqlite_bind_int(SqliteStatement *statement, int index, gint64 number)
{
    keep_failure(statement, sqlite3_bind_int64(statement->prepared, index, number));
}

void sqlite_bind_bytes(SqliteStatement *statement, int index, GBytes *bytes)
{
    gsize length = 0;
    gconstpointer data = g_bytes_get_data(bytes, &length);

    /* No bytes are a blob without bytes, not null. */
    keep_failure(statement, sqlite3_bind_blob64(statement->prepared, index, length > 0 ? data : "", length,
                                                SQLITE_TRANSIENT));
}

static void bind_values(SqliteStatement *statement, const char *types, va_list values)
{
    for (int i = 0; types[i] != '\0'; i++) {
        switch (types[i]) {
        case 's':
            sqlite_bind_text(statement, i + 1, va_arg(values, const char *));
            break;
        case 'i':
            sqlite_bind_int(statement, i + 1, va_arg(values, gint64));
            break;
        case 'b':
            sqlite_bind_bytes(statement, i + 1, va_arg(values, GBytes *));
            break;
        default:
            g_assert_not_reached();
        }
    }
}

static SqliteStatement *prepare(Sqlite *database, const char *sql, const char *types, va_list values,
                                GError **error)
{
    g_autoptr(SqliteStatement) statement = g_new0(SqliteStatement, 1);

    statement->database = database;
    if (sqlite3_prepare_v2(database->connection, sql, -1, &statement->prepared, NULL) != SQLITE_OK) {
        sqlite_fail(database, "use", error);
        return NULL;
    }
    bind_values(statement, types, values);
    return g_steal_pointer(&statement);
}

SqliteStatement *sqlite_prepare(Sqlite *database, GError **error, const char *sql, const char *types, ...)
{
    SqliteStatement *statement;
    va_list values;

    va_start(values, types);
    statement = prepare(database, sql, types, values, error);
    va_end(values);
    return statement;
}

gboolean sqlite_run(Sqlite *database, GError **error, const char *sql, const char *types, ...)
{
    g_autoptr(SqliteStatement) statement = NULL;
    va_list values;

    va_start(values, types);
    statement = prepare(database, sql, types, values, error);
    va_end(values);
    return statement != NULL && sqlite_finish(statement, error);
}

gboolean sqlite_step(SqliteStatement *statement, gboolean *ret_has_row, GError **error)
{
    Sqlite *database = statement->database;
    int code;

    if (statement->bind_code != SQLITE_OK)
        return fail(error, STATUS_INTERNAL, "cannot use the %s %s: a value does not fit: %s", database->name,
                    database->path, sqlite3_errstr(statement->bind_code));
    code = sqlite3_step(statement->prepared);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return sqlite_fail(database, sqlite3_stmt_readonly(statement->prepared) ? "read" : "write", error);
    *ret_has_row = code == SQLITE_ROW;
    return TRUE;
}

gboolean sqlite_finish(SqliteStatement *statement, GError **error)
{
    gboolean has_row = TRUE;

    while (has_row)
        if (!sqlite_step(statement, &has_row, error))
            return FALSE;
    return TRUE;
}

const char *sqlite_column_text(SqliteStatement *statement, int index)
{
    return (const char *)sqlite3_column_text(statement->prepared, index);
}

gint64 sqlite_column_int(SqliteStatement *statement, int index)
{
    return sqlite3_column_int64(statement->prepared, index);
}

GBytes *sqlite_column_bytes(SqliteStatement *statement, int index)
{
    gconstpointer bytes = sqlite3_column_blob(statement->prepared, index);

    return g_bytes_new(bytes, (gsize)sqlite3_column_bytes(statement->prepared, index));
}

/* ---- transactions ---- */

gboolean sqlite_begin(Sqlite *database, GError **error)
{
    return execute(database, "BEGIN IMMEDIATE", "write", error);
}

gboolean sqlite_end(Sqlite *database, gboolean good, GError **error)
{
    if (good && execute(database, "COMMIT", "write", error))
        return TRUE;
    sqlite3_exec(database->connection, "ROLLBACK", NULL, NULL, NULL);
    return FALSE;
}

/* ---- opening ---- */

/* The first value of a query's first row. Return: NULL with the error set. */
static char *query_text(Sqlite *database, const char *sql, GError **error)
{
    g_autoptr(SqliteStatement) statement = sqlite_prepare(database, error, sql, "");
    gboolean has_row = FALSE;

    if (statement == NULL || !sqlite_step(statement, &has_row, error))
        return NULL;
    return g_strdup(has_row ? sqlite_column_text(statement, 0) : "");
}

static gboolean is_whole(Sqlite *database, GError **error)
{
    g_autofree char *finding = query_text(database, "PRAGMA quick_check(1)", error);

    if (finding == NULL)
        return FALSE;
    return g_str_equal(finding, "ok") ||
           fail(error, STATUS_INTERNAL, "the %s %s is damaged: %s; move the file away to start without it",
                database->name, database->path, finding);
}

static gboolean migrate_one(Sqlite *database, const char *sql, guint version, GError **error)
{
    g_autofree char *pragma = g_strdup_printf("PRAGMA user_version = %u", version);

    return execute(database, "BEGIN IMMEDIATE", "migrate", error) &&
           sqlite_end(database,
                      execute(database, sql, "migrate", error) && execute(database, pragma, "migrate", error),
                      error);
}

static gboolean migrate(Sqlite *database, const SqliteOptions *options, GError **error)
{
    g_autofree char *text = query_text(database, "PRAGMA user_version", error);
    guint64 version;

    if (text == NULL)
        return FALSE;
    /* A negative version was never written by any program of ours. */
    if (!g_ascii_string_to_unsigned(text, 10, 0, options->n_migrations, &version, NULL))
        return fail(
            error, STATUS_FAILED_PRECONDITION,
            "the %s %s has schema version %s and this program knows versions up to %u: a newer program "
            "has written it",
            database->name, database->path, text, options->n_migrations);
    for (; version < options->n_migrations; version++)
        if (!migrate_one(database, options->migrations[version], (guint)version + 1, error))
            return FALSE;
    return TRUE;
}

Sqlite *sqlite_open(const SqliteOptions *options, GError **error)
{
    g_autoptr(Sqlite) database = g_new0(Sqlite, 1);

    database->path = g_strdup(options->path);
    database->name = g_strdup(options->name);
    if (!file_make_private(options->path, error))
        return NULL;
    if (sqlite3_open_v2(options->path, &database->connection, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX,
                        NULL) != SQLITE_OK) {
        sqlite_fail(database, "open", error);
        return NULL;
    }
    sqlite3_busy_timeout(database->connection, BUSY_TIMEOUT_MS);
    if (!execute(database, "PRAGMA journal_mode = WAL", "open", error) ||
        !execute(database, options->durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
                 "open", error) ||
        (options->foreign_keys && !execute(database, "PRAGMA foreign_keys = ON", "open", error)) ||
        !is_whole(database, error) || !migrate(database, options, error))
        return NULL;
    return g_steal_pointer(&database);
}
