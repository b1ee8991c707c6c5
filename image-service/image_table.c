/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/image_table.h"

#include <string.h>

#include "common/error.h"
#include "common/string_table.h"
#include "image-service/image.h"

enum { MIN_PREFIX_DIGITS = 3 };

struct ImageTable {
    GHashTable *images; /* id to Image */
    GHashTable *names;  /* tag or digest reference to id */
};

static void image_free(gpointer data)
{
    image_unref(data);
}

ImageTable *image_table_new(void)
{
    ImageTable *table = g_new0(ImageTable, 1);

    table->images = string_table_new(NULL, image_free);
    table->names = string_table_new(g_free, g_free);
    return table;
}

void image_table_free(ImageTable *table)
{
    if (table == NULL)
        return;
    g_hash_table_unref(table->images);
    g_hash_table_unref(table->names);
    g_free(table);
}

static char **strv_without(char **strings, const char *string)
{
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();

    for (; *strings != NULL; strings++)
        if (!g_str_equal(*strings, string))
            g_strv_builder_add(builder, *strings);
    return g_strv_builder_end(builder);
}

/* Takes the image. */
static void insert_image(ImageTable *table, Image *image)
{
    for (char **tag = image->tags; *tag != NULL; tag++)
        g_hash_table_replace(table->names, g_strdup(*tag), g_strdup(image->id));
    for (char **digest = image->digests; *digest != NULL; digest++)
        g_hash_table_replace(table->names, g_strdup(*digest), g_strdup(image->id));
    g_hash_table_replace(table->images, image->id, image);
}

/* The image that had the name stays, without it. */
static void take_name(ImageTable *table, const char *name, const char *new_id)
{
    const Image *old = image_table_by_name(table, name);
    g_auto(GStrv) tags = NULL;
    g_auto(GStrv) digests = NULL;

    if (old == NULL || g_str_equal(old->id, new_id))
        return;
    tags = strv_without(old->tags, name);
    digests = strv_without(old->digests, name);
    insert_image(table, image_renamed(old, tags, digests));
}

void image_table_put(ImageTable *table, Image *image)
{
    for (char **tag = image->tags; *tag != NULL; tag++)
        take_name(table, *tag, image->id);
    for (char **digest = image->digests; *digest != NULL; digest++)
        take_name(table, *digest, image->id);
    insert_image(table, image_ref(image));
}

void image_table_remove(ImageTable *table, const Image *image)
{
    for (char **tag = image->tags; *tag != NULL; tag++)
        g_hash_table_remove(table->names, *tag);
    for (char **digest = image->digests; *digest != NULL; digest++)
        g_hash_table_remove(table->names, *digest);
    g_hash_table_remove(table->images, image->id);
}

Image *image_table_by_id(const ImageTable *table, const char *id)
{
    return g_hash_table_lookup(table->images, id);
}

Image *image_table_by_name(const ImageTable *table, const char *name)
{
    const char *id = g_hash_table_lookup(table->names, name);

    return id != NULL ? image_table_by_id(table, id) : NULL;
}

static gboolean is_hex(const char *text)
{
    return text[0] != '\0' && text[strspn(text, "0123456789abcdef")] == '\0';
}

gboolean image_table_by_prefix(const ImageTable *table, const char *prefix, Image **ret_image, GError **error)
{
    const char *digits = g_str_has_prefix(prefix, "sha256:") ? prefix + strlen("sha256:") : prefix;
    GHashTableIter iterator;
    gpointer id;
    gpointer image;
    Image *found = NULL;

    *ret_image = NULL;
    if (strlen(digits) < MIN_PREFIX_DIGITS || !is_hex(digits))
        return TRUE;
    g_hash_table_iter_init(&iterator, table->images);
    while (g_hash_table_iter_next(&iterator, &id, &image)) {
        if (!g_str_has_prefix(strchr(id, ':') + 1, digits))
            continue;
        if (found != NULL)
            return fail(error, STATUS_INVALID_ARGUMENT, "several images have an id that begins with \"%s\"",
                        prefix);
        found = image;
    }
    *ret_image = found;
    return TRUE;
}

GPtrArray *image_table_list(const ImageTable *table)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(image_free);
    GHashTableIter iterator;
    gpointer image;

    g_hash_table_iter_init(&iterator, table->images);
    while (g_hash_table_iter_next(&iterator, NULL, &image))
        g_ptr_array_add(list, image_ref(image));
    return list;
}
