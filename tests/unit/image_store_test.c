/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image_store.h"

#include <glib/gstdio.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "tests/unit/harness.h"

#define DIFF_1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define DIFF_2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define IMAGE_A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define IMAGE_B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static ImageStore *open_store(const char *root)
{
    GError *error = NULL;
    ImageStore *store = image_store_open(root, 0, &error);

    TEST_OK(store != NULL, error);
    g_clear_error(&error);
    return store;
}

static void add_layer(ImageStore *store, const char *diff_id)
{
    GError *error = NULL;
    char *path = NULL;
    int fd = -1;

    TEST_OK(image_store_ingest_file(store, &path, &fd, &error), error);
    CU_ASSERT_EQUAL(write(fd, diff_id, strlen(diff_id)), (ssize_t)strlen(diff_id));
    TEST_OK(image_store_add_layer(store, &(LayerPlace){diff_id, diff_id}, TRUE, path, fd, &error), error);
    g_clear_error(&error);
    CU_ASSERT_FALSE(g_file_test(path, G_FILE_TEST_EXISTS));
    close(fd);
    g_free(path);
}

static void put_image(ImageStore *store, const char *id, const char *tag, const char *const *diff_ids)
{
    char *tags[] = {(char *)tag, NULL};
    char *digests[] = {NULL};
    StoredImage image = {.id = (char *)id,
                         .config_json = (char *)"{}",
                         .size_bytes = 10,
                         .pulled_at_ns = 20,
                         .layer_keys = (char **)diff_ids,
                         .tags = tags,
                         .digests = digests};
    GError *error = NULL;

    TEST_OK(image_store_put_image(store, &image, &error), error);
    g_clear_error(&error);
}

static GPtrArray *images(ImageStore *store)
{
    GError *error = NULL;
    GPtrArray *found = NULL;

    TEST_OK(image_store_images(store, &found, &error), error);
    g_clear_error(&error);
    return found;
}

static gboolean has_layer(ImageStore *store, const char *diff_id)
{
    g_autoptr(ImageLayer) layer = image_store_find_layer(store, diff_id);
    struct stat status;

    return layer != NULL && stat(layer->path, &status) == 0 && S_ISREG(status.st_mode) &&
           (status.st_mode & 07777) == 0440 && (guint64)status.st_size == layer->size_bytes;
}

static const char *const one[] = {DIFF_1, NULL};
static const char *const both[] = {DIFF_1, DIFF_2, DIFF_1, NULL};

static void keeps_images(void)
{
    g_autofree char *root = test_directory();
    ImageStore *store = open_store(root);

    add_layer(store, DIFF_1);
    add_layer(store, DIFF_2);
    put_image(store, IMAGE_A, "docker.io/library/a:latest", both);
    image_store_close(store);

    store = open_store(root);
    g_autoptr(GPtrArray) found = images(store);
    CU_ASSERT_EQUAL_FATAL(found->len, 1);
    const StoredImage *image = g_ptr_array_index(found, 0);
    CU_ASSERT_STRING_EQUAL(image->id, IMAGE_A);
    CU_ASSERT_STRING_EQUAL(image->tags[0], "docker.io/library/a:latest");
    CU_ASSERT_STRING_EQUAL(image->layer_keys[1], DIFF_2);
    CU_ASSERT_EQUAL(g_strv_length(image->layer_keys), 3);
    CU_ASSERT_EQUAL(image->size_bytes, 10);
    CU_ASSERT_EQUAL(image->pulled_at_ns, 20);
    CU_ASSERT_TRUE(has_layer(store, DIFF_1) && has_layer(store, DIFF_2));
    image_store_close(store);
}

static void is_locked(void)
{
    g_autofree char *root = test_directory();
    ImageStore *store = open_store(root);
    GError *error = NULL;

    TEST_FAILS(image_store_open(root, 0, &error) != NULL, error, STATUS_UNAVAILABLE, "locked");
    image_store_close(store);
    image_store_close(open_store(root));
}

static void removes_leftovers(void)
{
    g_autofree char *root = test_directory();
    ImageStore *store = open_store(root);
    g_autofree char *partial = image_store_ingest_path(store, "partial");
    g_autofree char *stray = g_build_filename(root, "layers/sha256/3333.erofs", NULL);

    add_layer(store, DIFF_1);
    image_store_close(store);
    CU_ASSERT_TRUE(g_file_set_contents(partial, "x", 1, NULL));
    CU_ASSERT_TRUE(g_file_set_contents(stray, "x", 1, NULL));
    store = open_store(root);
    CU_ASSERT_FALSE(g_file_test(partial, G_FILE_TEST_EXISTS));
    CU_ASSERT_FALSE(g_file_test(stray, G_FILE_TEST_EXISTS));
    CU_ASSERT_TRUE(has_layer(store, DIFF_1));
    image_store_close(store);
}

static void drops_images_without_files(void)
{
    g_autofree char *root = test_directory();
    ImageStore *store = open_store(root);
    g_autoptr(ImageLayer) layer = NULL;

    add_layer(store, DIFF_1);
    add_layer(store, DIFF_2);
    put_image(store, IMAGE_A, "docker.io/library/a:latest", one);
    put_image(store, IMAGE_B, "docker.io/library/b:latest", both);
    layer = image_store_find_layer(store, DIFF_2);
    image_store_close(store);
    CU_ASSERT_EQUAL(unlink(layer->path), 0);

    store = open_store(root);
    g_autoptr(GPtrArray) found = images(store);
    CU_ASSERT_EQUAL_FATAL(found->len, 1);
    CU_ASSERT_STRING_EQUAL(((StoredImage *)g_ptr_array_index(found, 0))->id, IMAGE_A);
    CU_ASSERT_FALSE(has_layer(store, DIFF_2));
    add_layer(store, DIFF_2);
    CU_ASSERT_TRUE(has_layer(store, DIFF_2));
    image_store_close(store);
}

static void a_damaged_file_is_missing(void)
{
    g_autofree char *root = test_directory();
    ImageStore *store = open_store(root);
    g_autoptr(ImageLayer) layer = NULL;

    add_layer(store, DIFF_1);
    layer = image_store_find_layer(store, DIFF_1);
    image_store_close(store);
    CU_ASSERT_EQUAL(truncate(layer->path, 3), 0);
    store = open_store(root);
    CU_ASSERT_FALSE(has_layer(store, DIFF_1));
    CU_ASSERT_FALSE(g_file_test(layer->path, G_FILE_TEST_EXISTS));
    image_store_close(store);
}

static void moves_tags(void)
{
    g_autofree char *root = test_directory();
    ImageStore *store = open_store(root);

    add_layer(store, DIFF_1);
    put_image(store, IMAGE_A, "docker.io/library/a:latest", one);
    put_image(store, IMAGE_B, "docker.io/library/a:latest", one);
    put_image(store, IMAGE_B, "docker.io/library/b:latest", one);
    g_autoptr(GPtrArray) found = images(store);
    CU_ASSERT_EQUAL_FATAL(found->len, 2);
    for (guint i = 0; i < found->len; i++) {
        const StoredImage *image = g_ptr_array_index(found, i);

        CU_ASSERT_EQUAL(g_strv_length(image->tags), g_str_equal(image->id, IMAGE_B) ? 2 : 0);
    }
    image_store_close(store);
}

static void keeps_what_is_used(void)
{
    g_autofree char *root = test_directory();
    ImageStore *store = open_store(root);
    g_auto(GStrv) released = NULL;
    GError *error = NULL;
    guint64 bytes;
    guint64 more_bytes;
    guint64 inodes;
    guint64 more_inodes;

    image_store_usage(store, &bytes, &inodes);
    add_layer(store, DIFF_1);
    add_layer(store, DIFF_2);
    put_image(store, IMAGE_A, "docker.io/library/a:latest", one);
    image_store_usage(store, &more_bytes, &more_inodes);
    CU_ASSERT_TRUE(more_bytes > bytes);
    CU_ASSERT_EQUAL(more_inodes, inodes + 2);

    image_store_hold(store, "owner", both);
    image_store_hold(store, "owner", both);
    image_store_drop_unused(store, NULL);
    CU_ASSERT_TRUE(has_layer(store, DIFF_1) && has_layer(store, DIFF_2));
    image_store_release(store, "owner", &released);
    CU_ASSERT_EQUAL(g_strv_length(released), 2);
    image_store_drop_unused(store, one);
    CU_ASSERT_TRUE(has_layer(store, DIFF_2));
    image_store_drop_unused(store, NULL);
    CU_ASSERT_TRUE(has_layer(store, DIFF_1));
    CU_ASSERT_FALSE(has_layer(store, DIFF_2));
    TEST_OK(image_store_remove_image(store, IMAGE_A, &error), error);
    CU_ASSERT_TRUE(has_layer(store, DIFF_1));
    image_store_drop_unused(store, one);
    CU_ASSERT_FALSE(has_layer(store, DIFF_1));
    image_store_usage(store, &more_bytes, &more_inodes);
    CU_ASSERT_EQUAL(more_bytes, bytes);
    CU_ASSERT_EQUAL(more_inodes, inodes);
    image_store_close(store);
}

/* A database as the first version wrote it, with layers by their diff ids. */
static void write_old_store(const char *root)
{
    static const char sql[] =
        "CREATE TABLE layers (diff_id TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL,"
        " disk_bytes INTEGER NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE images (id TEXT PRIMARY KEY, config_json TEXT NOT NULL, size_bytes INTEGER NOT NULL,"
        " pulled_at_ns INTEGER NOT NULL);"
        "CREATE TABLE image_layers (image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE,"
        " position INTEGER NOT NULL, diff_id TEXT NOT NULL REFERENCES layers (diff_id),"
        " PRIMARY KEY (image_id, position)) WITHOUT ROWID;"
        "CREATE INDEX image_layers_by_diff_id ON image_layers (diff_id);"
        "CREATE TABLE names (name TEXT PRIMARY KEY, is_digest INTEGER NOT NULL,"
        " image_id TEXT NOT NULL REFERENCES images (id) ON DELETE CASCADE) WITHOUT ROWID;"
        "CREATE INDEX names_by_image ON names (image_id);"
        "INSERT INTO layers VALUES ('" DIFF_1 "', 3, 4096);"
        "INSERT INTO images VALUES ('" IMAGE_A "', '{}', 10, 20);"
        "INSERT INTO image_layers VALUES ('" IMAGE_A "', 0, '" DIFF_1 "');"
        "INSERT INTO names VALUES ('docker.io/library/a:latest', 0, '" IMAGE_A "');"
        "PRAGMA user_version = 1";
    g_autofree char *database_path = g_build_filename(root, "images.db", NULL);
    g_autofree char *layers = g_build_filename(root, "layers", "sha256", NULL);
    g_autofree char *file = g_strdup_printf("%s/%s.erofs", layers, strchr(DIFF_1, ':') + 1);
    sqlite3 *database = NULL;

    CU_ASSERT_EQUAL(g_mkdir_with_parents(layers, 0711), 0);
    CU_ASSERT_TRUE(g_file_set_contents(file, "old", 3, NULL));
    CU_ASSERT_EQUAL(chmod(file, 0444), 0);
    CU_ASSERT_EQUAL(sqlite3_open(database_path, &database), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void layers_of_an_earlier_version_are_closed_to_other_users(void)
{
    g_autofree char *root = test_directory();
    g_autoptr(ImageLayer) layer = NULL;
    struct stat status = {0};
    ImageStore *store;

    write_old_store(root);
    store = open_store(root);
    layer = image_store_find_layer(store, DIFF_1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(layer);
    CU_ASSERT_EQUAL(stat(layer->path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0440);
    image_store_close(store);
    if (getuid() != 0)
        return;
    store = image_store_open(root, 4321, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(store);
    CU_ASSERT_EQUAL(stat(layer->path, &status), 0);
    CU_ASSERT_EQUAL(status.st_mode & 07777, 0440);
    CU_ASSERT_EQUAL(status.st_gid, 4321);
    image_store_close(store);
}

static void old_layers_stay_usable_until_they_are_made_anew(void)
{
    g_autofree char *root = test_directory();
    LayerPlace place = {DIFF_1, DIFF_1};
    g_autoptr(GPtrArray) found = NULL;
    g_autoptr(ImageLayer) layer = NULL;
    ImageStore *store;

    write_old_store(root);
    store = open_store(root);
    CU_ASSERT_PTR_NOT_NULL_FATAL(store);
    found = images(store);
    CU_ASSERT_EQUAL_FATAL(found->len, 1);
    CU_ASSERT_STRING_EQUAL(((StoredImage *)g_ptr_array_index(found, 0))->layer_keys[0], DIFF_1);
    CU_ASSERT_TRUE(has_layer(store, DIFF_1));
    CU_ASSERT_FALSE(image_store_has_current(store, one));
    CU_ASSERT_PTR_NULL(image_store_find_layer_for(store, &place));
    add_layer(store, DIFF_1);
    CU_ASSERT_TRUE(has_layer(store, DIFF_1));
    CU_ASSERT_TRUE(image_store_has_current(store, one));
    layer = image_store_find_layer_for(store, &place);
    CU_ASSERT_TRUE(layer != NULL && layer->size_bytes == strlen(DIFF_1));
    /* The image still has the layer. */
    image_store_drop_unused(store, NULL);
    CU_ASSERT_TRUE(has_layer(store, DIFF_1));
    image_store_close(store);
}

static void a_layer_that_depends_on_those_below_is_used_only_in_its_own_chain(void)
{
    LayerPlace place = {DIFF_1, DIFF_2};
    LayerPlace elsewhere = {DIFF_1, DIFF_1};
    g_autofree char *root = test_directory();
    g_autofree char *path = NULL;
    g_autoptr(ImageLayer) found = NULL;
    ImageStore *store = open_store(root);
    GError *error = NULL;
    int fd = -1;

    TEST_OK(image_store_ingest_file(store, &path, &fd, &error), error);
    TEST_OK(image_store_add_layer(store, &place, FALSE, path, fd, &error), error);
    close(fd);
    found = image_store_find_layer_for(store, &place);
    CU_ASSERT_TRUE(found != NULL && g_str_equal(found->key, DIFF_2));
    CU_ASSERT_PTR_NULL(image_store_find_layer_for(store, &elsewhere));
    image_store_close(store);
}

static void refuses_newer_databases(void)
{
    g_autofree char *root = test_directory();
    g_autofree char *path = g_build_filename(root, "images.db", NULL);
    sqlite3 *database = NULL;
    GError *error = NULL;

    image_store_close(open_store(root));
    CU_ASSERT_EQUAL(sqlite3_open(path, &database), SQLITE_OK);
    CU_ASSERT_EQUAL(sqlite3_exec(database, "PRAGMA user_version = 1000", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
    TEST_FAILS(image_store_open(root, 0, &error) != NULL, error, STATUS_FAILED_PRECONDITION, "newer");
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"images survive closing and opening", keeps_images},
        {"a second process cannot open the store", is_locked},
        {"files in progress and files without a row are removed", removes_leftovers},
        {"an image whose layer file is gone is dropped, and the layer can come again",
         drops_images_without_files},
        {"a layer file of another size is treated as missing", a_damaged_file_is_missing},
        {"a tag that moves leaves its old image in the store", moves_tags},
        {"layers stay while an image or a holder has them, and the usage follows", keeps_what_is_used},
        {"layers of an older version stay usable until they are recreated",
         old_layers_stay_usable_until_they_are_made_anew},
        {"a layer that depends on those below is used only in its own chain",
         a_layer_that_depends_on_those_below_is_used_only_in_its_own_chain},
        {"layers of an earlier version are closed to other users",
         layers_of_an_earlier_version_are_closed_to_other_users},
        {"a database of a newer version is refused", refuses_newer_databases},
    };

    return test_main_args("image store", cases, G_N_ELEMENTS(cases), argc, argv);
}
