/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration text: parsed, then every value read in every way. */
#include <stddef.h>
#include <stdint.h>

#include "common/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_table(const TomlTable *table)
{
    g_autofree const char **keys = toml_keys(table);

    for (gsize i = 0; keys[i] != NULL; i++) {
        g_autofree char *string = NULL;
        g_auto(GStrv) strings = NULL;
        g_autoptr(GPtrArray) tables = NULL;
        g_autoptr(GPtrArray) vectors = NULL;
        const TomlTable *child;
        gint64 integer;
        double real;
        gboolean boolean;

        toml_get_string(table, keys[i], &string, NULL);
        toml_get_strv(table, keys[i], &strings, NULL);
        toml_get_strvs(table, keys[i], &vectors, NULL);
        toml_get_int(table, keys[i], &integer, NULL);
        toml_get_double(table, keys[i], &real, NULL);
        toml_get_bool(table, keys[i], &boolean, NULL);
        g_assert(toml_line(table, keys[i]) > 0);
        child = toml_get_table(table, keys[i], NULL);
        if (child != NULL)
            read_table(child);
        toml_get_tables(table, keys[i], &tables, NULL);
        for (guint j = 0; tables != NULL && j < tables->len; j++)
            read_table(g_ptr_array_index(tables, j));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(TomlTable) root = toml_parse((const char *)data, size, "fuzz", &error);

    g_assert((root == NULL) == (error != NULL));
    if (root != NULL)
        read_table(root);
    return 0;
}
