/* SPDX-License-Identifier: Apache-2.0 */
/* An SQLite database of the daemon's: opening, migrations, statements, transactions.
 *
 * sqlite_open() makes the file private, sets write-ahead logging and a busy time-out, checks that the file is
 * whole, refuses one that a newer program has written, and brings an older one to this program's schema, one
 * transaction a version (PRAGMA user_version counts them).
 *
 * Errors name the database and its path. RESOURCE_EXHAUSTED: the disk is full. FAILED_PRECONDITION: the
 * schema is newer than this program. INTERNAL: everything else, damage included.
 *
 * A connection is used by one thread at a time: the caller holds its own lock over each statement's life and
 * over each transaction.
 */
#pragma once

#include <glib.h>

typedef struct Sqlite Sqlite;
typedef struct SqliteStatement SqliteStatement;

typedef struct {
    const char *path;
    const char *name; /* in messages: "state database" */
    /* migrations[n] turns a database of version n into one of n + 1; a new file is of version 0. Rows are
     * only ever added. */
    const char *const *migrations;
    guint n_migrations;
    gboolean durable; /* each transaction is on disk when it has ended; otherwise a power cut may lose the
                       * last ones */
    gboolean foreign_keys; /* enforced */
} SqliteOptions;

/* Return: the connection, or NULL with the error set. options are not kept, but the migrations are read. */
Sqlite *sqlite_open(const SqliteOptions *options, GError **error);
/* All statements must be freed before. */
void sqlite_close(Sqlite *database); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Sqlite, sqlite_close)

/* Runs statements without values, separated by semicolons; rows are dropped. */
gboolean sqlite_execute(Sqlite *database, const char *sql, GError **error);

/* Prepares a statement and binds the values of its question marks by types: 's' const char * (NULL is null),
 * 'i' gint64, 'b' GBytes *. Values are copied. Return: the statement, or NULL with the error set. */
SqliteStatement *sqlite_prepare(Sqlite *database, GError **error, const char *sql, const char *types, ...);
/* Prepares, binds and runs a statement to its end. */
gboolean sqlite_run(Sqlite *database, GError **error, const char *sql, const char *types, ...);
void sqlite_statement_free(SqliteStatement *statement); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SqliteStatement, sqlite_statement_free)

/* Binds one value; index counts from 1. What goes wrong is reported by the next sqlite_step(). */
void sqlite_bind_text(SqliteStatement *statement, int index, const char *text);
void sqlite_bind_int(SqliteStatement *statement, int index, gint64 number);
void sqlite_bind_bytes(SqliteStatement *statement, int index, GBytes *bytes);

/* Moves to the next row. *ret_has_row is FALSE at the end. */
gboolean sqlite_step(SqliteStatement *statement, gboolean *ret_has_row, GError **error);
/* Runs a statement to its end; rows are dropped. */
gboolean sqlite_finish(SqliteStatement *statement, GError **error);

/* A value of the current row; index counts from 0. Text is borrowed until the next step, and NULL for null.
 */
const char *sqlite_column_text(SqliteStatement *statement, int index);
gint64 sqlite_column_int(SqliteStatement *statement, int index);
GBytes *sqlite_column_bytes(SqliteStatement *statement, int index); /* new; empty for null */

/* Begins a transaction that writes. Return: FALSE with the error set: there is none to end. */
gboolean sqlite_begin(Sqlite *database, GError **error);
/* Ends it: commits when good, otherwise takes everything back and leaves *error as it is.
 * Return: whether it was committed. */
gboolean sqlite_end(Sqlite *database, gboolean good, GError **error);
