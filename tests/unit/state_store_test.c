/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/state/state_store.h"

#include <sqlite3.h>

#include "common/error.h"
#include "tests/unit/harness.h"

static char *database_path(void)
{
    g_autofree char *directory = test_directory();

    return g_build_filename(directory, "state.db", NULL);
}

static StateStore *reopen(StateStore *store, const char *path)
{
    g_autoptr(GError) error = NULL;
    StateStore *opened;

    state_store_close(store);
    opened = state_store_open(path, &error);
    TEST_OK(opened != NULL, error);
    return opened;
}

static PodRecord pod_record(GBytes *config)
{
    return (PodRecord){.id = (char *)"p1",
                       .config = config,
                       .handler = (char *)"vm",
                       .created_at_ns = 42,
                       .state = POD_READY,
                       .ips = (char *)"10.0.0.2 fd00::2",
                       .cni_config = (char *)"{\"name\":\"n\"}",
                       .cni_result = (char *)"{}",
                       .share_attached = 2,
                       .volume_cache = (char *)"never",
                       .volume_locks = FALSE};
}

static ContainerRecord container_record(GBytes *config)
{
    return (ContainerRecord){.id = (char *)"c1",
                             .pod_id = (char *)"p1",
                             .config = config,
                             .image_id = (char *)"sha256:1",
                             .diff_ids = (char *)"sha256:2 sha256:3",
                             .state = CONTAINER_EXITED_STATE,
                             .created_at_ns = 1,
                             .started_at_ns = 2,
                             .finished_at_ns = 3,
                             .exit_code = 137,
                             .reason = (char *)"OOMKilled",
                             .message = NULL,
                             .uid = 1000,
                             .gid = 1000,
                             .groups = (char *)"4 5",
                             .stop_signal = 15};
}

static void rows_survive(void)
{
    g_autofree char *path = database_path();
    g_autoptr(GBytes) config = g_bytes_new("a\0b", 3);
    g_autoptr(GBytes) empty = g_bytes_new("", 0);
    g_autoptr(GPtrArray) pods = NULL;
    g_autoptr(GPtrArray) containers = NULL;
    g_autoptr(GPtrArray) disks = NULL;
    g_autoptr(GError) error = NULL;
    StateStore *store = reopen(NULL, path);
    PodRecord pod = pod_record(config);
    ContainerRecord container = container_record(empty);

    TEST_OK(state_store_put_pod(store, &pod, &error), error);
    TEST_OK(state_store_put_container(store, &container, &error), error);
    TEST_OK(state_store_put_disk(store, "p1", 3, "sha256:2", &error), error);
    store = reopen(store, path);
    TEST_OK(state_store_load_pods(store, &pods, &error), error);
    TEST_OK(state_store_load_containers(store, "p1", &containers, &error), error);
    TEST_OK(state_store_load_disks(store, "p1", &disks, &error), error);
    CU_ASSERT_EQUAL_FATAL(pods->len, 1);
    CU_ASSERT_EQUAL_FATAL(containers->len, 1);
    CU_ASSERT_EQUAL_FATAL(disks->len, 1);
    {
        const PodRecord *read = pods->pdata[0];
        const ContainerRecord *ended = containers->pdata[0];
        const PodDiskRecord *disk = disks->pdata[0];

        CU_ASSERT_TRUE(g_bytes_equal(read->config, config));
        CU_ASSERT_STRING_EQUAL(read->ips, "10.0.0.2 fd00::2");
        CU_ASSERT_STRING_EQUAL(read->cni_config, "{\"name\":\"n\"}");
        CU_ASSERT_PTR_NULL(read->problem);
        CU_ASSERT_EQUAL(read->state, POD_READY);
        CU_ASSERT_EQUAL(read->share_attached, 2);
        CU_ASSERT_STRING_EQUAL(read->volume_cache, "never");
        CU_ASSERT_EQUAL(read->volume_locks, FALSE);
        CU_ASSERT_EQUAL(g_bytes_get_size(ended->config), 0);
        CU_ASSERT_EQUAL(ended->exit_code, 137);
        CU_ASSERT_STRING_EQUAL(ended->reason, "OOMKilled");
        CU_ASSERT_PTR_NULL(ended->message);
        CU_ASSERT_STRING_EQUAL(ended->groups, "4 5");
        CU_ASSERT_EQUAL(disk->lun, 3);
    }
    state_store_close(store);
}

static void a_put_replaces(void)
{
    g_autofree char *path = database_path();
    g_autoptr(GBytes) config = g_bytes_new("", 0);
    g_autoptr(GPtrArray) pods = NULL;
    g_autoptr(GError) error = NULL;
    StateStore *store = reopen(NULL, path);
    PodRecord pod = pod_record(config);

    TEST_OK(state_store_put_pod(store, &pod, &error), error);
    pod.state = POD_STOPPED;
    TEST_OK(state_store_put_pod(store, &pod, &error), error);
    TEST_OK(state_store_load_pods(store, &pods, &error), error);
    CU_ASSERT_EQUAL_FATAL(pods->len, 1);
    CU_ASSERT_EQUAL(((PodRecord *)pods->pdata[0])->state, POD_STOPPED);
    state_store_close(store);
}

static void a_pod_goes_whole(void)
{
    g_autofree char *path = database_path();
    g_autoptr(GBytes) config = g_bytes_new("", 0);
    g_autoptr(GPtrArray) pods = NULL;
    g_autoptr(GPtrArray) containers = NULL;
    g_autoptr(GPtrArray) disks = NULL;
    g_autoptr(GError) error = NULL;
    StateStore *store = reopen(NULL, path);
    PodRecord pod = pod_record(config);
    ContainerRecord container = container_record(config);

    TEST_OK(state_store_put_pod(store, &pod, &error), error);
    TEST_OK(state_store_put_container(store, &container, &error), error);
    TEST_OK(state_store_put_disk(store, "p1", 1, "sha256:2", &error), error);
    TEST_OK(state_store_delete_pod(store, "p1", &error), error);
    TEST_OK(state_store_load_pods(store, &pods, &error), error);
    TEST_OK(state_store_load_containers(store, "p1", &containers, &error), error);
    TEST_OK(state_store_load_disks(store, "p1", &disks, &error), error);
    CU_ASSERT_EQUAL(pods->len + containers->len + disks->len, 0);
    state_store_close(store);
}

/* As the first release wrote it: text of its own, so that a migration that is changed by mistake is seen. */
static const char first_schema[] =
    "CREATE TABLE pods (id TEXT PRIMARY KEY, config BLOB NOT NULL, handler TEXT NOT NULL, created_at_ns "
    "INTEGER NOT NULL,"
    " state INTEGER NOT NULL, problem TEXT, ips TEXT, cni_config TEXT, cni_result TEXT, share_attached "
    "INTEGER NOT NULL)"
    " WITHOUT ROWID;"
    "CREATE TABLE pod_disks (pod_id TEXT NOT NULL, lun INTEGER NOT NULL, diff_id TEXT NOT NULL,"
    " PRIMARY KEY (pod_id, lun)) WITHOUT ROWID;"
    "CREATE TABLE containers (id TEXT PRIMARY KEY, pod_id TEXT NOT NULL, config BLOB NOT NULL, image_id TEXT "
    "NOT NULL,"
    " diff_ids TEXT NOT NULL, state INTEGER NOT NULL, created_at_ns INTEGER NOT NULL, started_at_ns INTEGER "
    "NOT NULL,"
    " finished_at_ns INTEGER NOT NULL, exit_code INTEGER NOT NULL, reason TEXT, message TEXT, uid INTEGER "
    "NOT NULL,"
    " gid INTEGER NOT NULL, groups TEXT, stop_signal INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX containers_of_pod ON containers (pod_id);"
    "INSERT INTO pods VALUES ('p1', x'0a00', 'vm', 42, 1, NULL, '10.0.0.2', '{}', '{}', 1);"
    "INSERT INTO pod_disks VALUES ('p1', 1, 'sha256:2');"
    "INSERT INTO containers VALUES ('c1', 'p1', x'0a00', 'sha256:1', 'sha256:2', 2, 1, 2, 3, 137, 'Error', "
    "NULL, 0, 0,"
    " NULL, 15);"
    "PRAGMA user_version = 1;";

static void first_schema_is_taken_over(void)
{
    g_autofree char *path = database_path();
    g_autoptr(GPtrArray) pods = NULL;
    g_autoptr(GPtrArray) containers = NULL;
    g_autoptr(GPtrArray) disks = NULL;
    g_autoptr(GError) error = NULL;
    StateStore *store;
    sqlite3 *database;

    sqlite3_open(path, &database);
    CU_ASSERT_EQUAL(sqlite3_exec(database, first_schema, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
    store = reopen(reopen(NULL, path), path); /* the second time there is nothing to migrate */
    TEST_OK(state_store_load_pods(store, &pods, &error), error);
    TEST_OK(state_store_load_containers(store, "p1", &containers, &error), error);
    TEST_OK(state_store_load_disks(store, "p1", &disks, &error), error);
    CU_ASSERT_EQUAL_FATAL(pods->len, 1);
    CU_ASSERT_STRING_EQUAL(((PodRecord *)pods->pdata[0])->ips, "10.0.0.2");
    CU_ASSERT_STRING_EQUAL(((PodRecord *)pods->pdata[0])->kind, "vm");
    CU_ASSERT_EQUAL(((PodRecord *)pods->pdata[0])->memory_bytes, 0); /* not known */
    CU_ASSERT_STRING_EQUAL(((PodRecord *)pods->pdata[0])->volume_cache, "auto");
    CU_ASSERT_EQUAL(((PodRecord *)pods->pdata[0])->volume_locks, -1); /* not known */
    CU_ASSERT_EQUAL_FATAL(containers->len, 1);
    CU_ASSERT_EQUAL(((ContainerRecord *)containers->pdata[0])->exit_code, 137);
    CU_ASSERT_EQUAL(disks->len, 1);
    state_store_close(store);
}

static void newer_schema_is_refused(void)
{
    g_autofree char *path = database_path();
    g_autoptr(GError) error = NULL;
    sqlite3 *database;

    state_store_close(reopen(NULL, path));
    sqlite3_open(path, &database);
    sqlite3_exec(database, "PRAGMA user_version = 99", NULL, NULL, NULL);
    sqlite3_close(database);
    TEST_FAILS(state_store_open(path, &error), error, STATUS_FAILED_PRECONDITION, "99");
}

static void damage_is_named(void)
{
    g_autofree char *path = database_path();
    g_autoptr(GError) error = NULL;

    g_file_set_contents(path, "this is not a database, not at all, by any means whatsoever", -1, NULL);
    TEST_FAILS(state_store_open(path, &error), error, STATUS_INTERNAL, path);
}

int main(void)
{
    static const TestCase cases[] = {
        {"rows and all their fields survive closing the database", rows_survive},
        {"putting a row again replaces it", a_put_replaces},
        {"deleting a pod deletes its containers and disks", a_pod_goes_whole},
        {"a database of the first schema is migrated without loss", first_schema_is_taken_over},
        {"a database of a newer schema is refused, naming its version", newer_schema_is_refused},
        {"an error about a damaged database names the file", damage_is_named},
    };

    return test_main("state_store", cases, G_N_ELEMENTS(cases));
}
