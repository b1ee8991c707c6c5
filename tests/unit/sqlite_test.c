/* SPDX-License-Identifier: Apache-2.0 */
#include "common/sqlite.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static const char *const migrations[] = {
    "CREATE TABLE pods (id TEXT PRIMARY KEY, config BLOB, size INTEGER);",
    "ALTER TABLE pods ADD COLUMN note TEXT; CREATE TABLE parts (pod TEXT REFERENCES pods (id) ON DELETE "
    "CASCADE);",
};

static char *new_path(void)
{
    g_autofree char *directory = test_directory();

    return g_build_filename(directory, "test.db", NULL);
}

static Sqlite *open_version(const char *path, guint n_migrations, GError **error)
{
    const SqliteOptions options = {.path = path,
                                   .name = "test database",
                                   .migrations = migrations,
                                   .n_migrations = n_migrations,
                                   .foreign_keys = TRUE};

    return sqlite_open(&options, error);
}

static gint64 count(Sqlite *database, const char *table)
{
    g_autofree char *sql = g_strdup_printf("SELECT count(*) FROM %s", table);
    g_autoptr(SqliteStatement) statement = sqlite_prepare(database, NULL, sql, "");
    gboolean has_row = FALSE;

    return statement != NULL && sqlite_step(statement, &has_row, NULL) && has_row
               ? sqlite_column_int(statement, 0)
               : -1;
}

static void values_are_read_as_they_were_written(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GError) error = NULL;
    g_autoptr(Sqlite) database = open_version(path, 2, &error);
    g_autoptr(GBytes) blob = g_bytes_new("a\0b", 3);
    g_autoptr(GBytes) empty = g_bytes_new("", 0);
    g_autoptr(GBytes) read = NULL;
    g_autoptr(SqliteStatement) rows = NULL;
    gboolean has_row = FALSE;
    struct stat status;

    TEST_OK(database != NULL, error);
    CU_ASSERT_EQUAL(g_stat(path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 0777, 0600);
    TEST_OK(sqlite_run(database, &error, "INSERT INTO pods VALUES (?, ?, ?, ?)", "sbis", "one", blob,
                       G_MAXINT64, NULL),
            error);
    TEST_OK(sqlite_run(database, &error, "INSERT INTO pods VALUES (?, ?, ?, ?)", "sbis", "two", empty,
                       (gint64)-1, "note"),
            error);
    rows = sqlite_prepare(database, &error,
                          "SELECT id, config, size, note FROM pods WHERE id >= ? ORDER BY id", "s", "one");
    TEST_OK(rows != NULL && sqlite_step(rows, &has_row, &error) && has_row, error);
    CU_ASSERT_STRING_EQUAL(sqlite_column_text(rows, 0), "one");
    read = sqlite_column_bytes(rows, 1);
    CU_ASSERT_TRUE(g_bytes_equal(read, blob));
    CU_ASSERT_EQUAL(sqlite_column_int(rows, 2), G_MAXINT64);
    CU_ASSERT_PTR_NULL(sqlite_column_text(rows, 3));
    TEST_OK(sqlite_step(rows, &has_row, &error) && has_row, error);
    CU_ASSERT_STRING_EQUAL(sqlite_column_text(rows, 3), "note");
    TEST_OK(sqlite_step(rows, &has_row, &error) && !has_row, error);
}

static void wrong_statement_and_value_are_errors(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GError) error = NULL;
    g_autoptr(Sqlite) database = open_version(path, 2, &error);
    g_autoptr(SqliteStatement) statement = NULL;

    TEST_OK(database != NULL, error);
    TEST_FAILS(sqlite_prepare(database, &error, "SELECT id FROM nowhere", "") != NULL, error, STATUS_INTERNAL,
               "test.db: no such table: nowhere");
    TEST_FAILS(sqlite_run(database, &error, "INSERT INTO parts VALUES (?)", "s", "nobody"), error,
               STATUS_INTERNAL, "cannot write the test database");
    statement = sqlite_prepare(database, &error, "SELECT ?", "");
    TEST_OK(statement != NULL, error);
    sqlite_bind_int(statement, 2, 1);
    TEST_FAILS(sqlite_finish(statement, &error), error, STATUS_INTERNAL, "a value does not fit");
}

static void failed_transaction_is_taken_back(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GError) error = NULL;
    g_autoptr(Sqlite) database = open_version(path, 2, &error);

    TEST_OK(database != NULL, error);
    TEST_OK(sqlite_begin(database, &error), error);
    TEST_OK(sqlite_run(database, &error, "INSERT INTO pods (id) VALUES (?)", "s", "one"), error);
    CU_ASSERT_FALSE(sqlite_end(database, FALSE, &error));
    CU_ASSERT_PTR_NULL(error);
    CU_ASSERT_EQUAL(count(database, "pods"), 0);
    TEST_OK(sqlite_begin(database, &error), error);
    TEST_OK(sqlite_run(database, &error, "INSERT INTO pods (id) VALUES (?)", "s", "one"), error);
    TEST_OK(sqlite_end(database, TRUE, &error), error);
    CU_ASSERT_EQUAL(count(database, "pods"), 1);
}

static void older_schema_is_migrated(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GError) error = NULL;
    Sqlite *database = open_version(path, 1, &error);

    TEST_OK(database != NULL, error);
    TEST_OK(sqlite_execute(database, "INSERT INTO pods VALUES ('one', x'00', 1)", &error), error);
    sqlite_close(database);
    database = open_version(path, 2, &error);
    TEST_OK(database != NULL, error);
    CU_ASSERT_EQUAL(count(database, "pods"), 1);
    CU_ASSERT_EQUAL(count(database, "parts"), 0);
    sqlite_close(database);
}

static void failed_migration_leaves_the_old_schema(void)
{
    static const char *const broken[] = {"CREATE TABLE pods (id TEXT);",
                                         "CREATE TABLE half (id TEXT); CREATE TABLE pods (id TEXT);"};
    g_autofree char *path = new_path();
    SqliteOptions options = {.path = path, .name = "test database", .migrations = broken, .n_migrations = 1};
    g_autoptr(GError) error = NULL;
    Sqlite *database = sqlite_open(&options, &error);

    TEST_OK(database != NULL, error);
    sqlite_close(database);
    options.n_migrations = 2;
    TEST_FAILS(sqlite_open(&options, &error) != NULL, error, STATUS_INTERNAL,
               "cannot migrate the test database");
    options.n_migrations = 1;
    database = sqlite_open(&options, &error);
    TEST_OK(database != NULL, error);
    CU_ASSERT_EQUAL(count(database, "half"), -1);
    sqlite_close(database);
}

static void newer_schema_is_refused(void)
{
    g_autofree char *path = new_path();
    g_autoptr(GError) error = NULL;

    sqlite_close(open_version(path, 2, &error));
    TEST_FAILS(open_version(path, 1, &error) != NULL, error, STATUS_FAILED_PRECONDITION,
               "has schema version 2 and this program knows versions up to 1");
}

static void an_error_about_a_damaged_database_names_the_file(void)
{
    g_autofree char *path = new_path();
    g_autofree char *big = g_strnfill(100000, 'x');
    g_autofree char *content = NULL;
    gsize length = 0;
    g_autoptr(GError) error = NULL;
    Sqlite *database = open_version(path, 2, &error);

    TEST_OK(database != NULL, error);
    for (int i = 0; i < 50; i++) {
        g_autofree char *id = g_strdup_printf("pod-%d", i);

        TEST_OK(sqlite_run(database, &error, "INSERT INTO pods (id, note) VALUES (?, ?)", "ss", id, big),
                error);
    }
    sqlite_close(database);
    CU_ASSERT_TRUE(g_file_get_contents(path, &content, &length, NULL));
    memset(content + 4096, 0xff, 3 * 4096);
    CU_ASSERT_TRUE(g_file_set_contents(path, content, (gssize)length, NULL));
    TEST_FAILS(open_version(path, 2, &error) != NULL, error, STATUS_INTERNAL, "test.db");
    CU_ASSERT_TRUE(
        g_file_set_contents(path, "this is a text and not a database at all, as anyone can see", -1, NULL));
    TEST_FAILS(open_version(path, 2, &error) != NULL, error, STATUS_INTERNAL, "file is not a database");
}

static void full_disk_is_resource_exhausted(void)
{
    g_autofree char *path = new_path();
    g_autofree char *big = g_strnfill(1 << 20, 'x');
    g_autoptr(GError) error = NULL;
    g_autoptr(Sqlite) database = open_version(path, 2, &error);

    TEST_OK(database != NULL, error);
    TEST_OK(sqlite_execute(database, "PRAGMA max_page_count = 20", &error), error);
    TEST_FAILS(sqlite_run(database, &error, "INSERT INTO pods (id) VALUES (?)", "s", big), error,
               STATUS_RESOURCE_EXHAUSTED, "cannot write the test database");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"values are read as they were written, from a file that only its owner can read",
         values_are_read_as_they_were_written},
        {"a wrong statement and a wrong value are errors", wrong_statement_and_value_are_errors},
        {"a failed transaction is rolled back", failed_transaction_is_taken_back},
        {"an older schema is migrated with its rows", older_schema_is_migrated},
        {"a failed migration leaves the old schema", failed_migration_leaves_the_old_schema},
        {"a newer schema is refused with both versions", newer_schema_is_refused},
        {"an error about a damaged database names the file",
         an_error_about_a_damaged_database_names_the_file},
        {"a full disk is RESOURCE_EXHAUSTED", full_disk_is_resource_exhausted},
    };

    return test_main_args("sqlite", cases, G_N_ELEMENTS(cases), argc, argv);
}
