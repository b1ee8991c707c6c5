/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/config/config_parts.h"
#include "cri-server/config/handler_config.h"
#include "cri-server/config/option_table.h"

static void change_free(gpointer data)
{
    ConfigChange *change = data;

    g_free(change->name);
    g_free(change->before);
    g_free(change->after);
    g_free(change);
}

/* Takes ownership of the strings. */
static void change_add(GPtrArray *changes, char *name, char *before, char *after, gboolean needs_restart)
{
    ConfigChange *change = g_new(ConfigChange, 1);

    *change = (ConfigChange){name, before, after, needs_restart};
    g_ptr_array_add(changes, change);
}

/* Compares the values of an option, and keeps the one in force where a reload cannot change it. prefix: what
 * is before the key in the option's name. */
static gboolean option_reload(const Option *option, const char *prefix, gconstpointer running, gpointer next,
                              GPtrArray *changes, GError **error)
{
    g_autofree char *before = option_to_toml(option, running);
    g_autofree char *after = option_to_toml(option, next);
    g_autofree char *kept = NULL;

    if (g_str_equal(before, after))
        return TRUE;
    change_add(changes, g_strdup_printf("%s.%s", prefix, option->key), g_steal_pointer(&before),
               g_steal_pointer(&after), option->when == OPTION_RESTART);
    if (option->when == OPTION_RELOAD)
        return TRUE;
    kept = option_to_text(option, running);
    return option_set_text(option, kept, next, error);
}

static gboolean handler_reload(const Handler *running, const Handler *next, GPtrArray *changes,
                               GError **error)
{
    g_autofree char *prefix = g_strdup_printf("handlers.%s", next->name);
    gsize n_rows;
    const Option *rows = handler_options(&n_rows);

    for (gsize i = 0; i < n_rows; i++)
        if (!option_reload(&rows[i], prefix, handler_option_field(&rows[i], running),
                           handler_option_field(&rows[i], next), changes, error))
            return FALSE;
    return TRUE;
}

static gboolean handlers_reload(const GPtrArray *running, const GPtrArray *next, GPtrArray *changes,
                                GError **error)
{
    for (guint i = 0; i < running->len; i++) {
        const Handler *before = running->pdata[i];

        if (handler_configs_find(next, before->name) == NULL)
            change_add(changes, g_strdup_printf("handlers.%s", before->name), g_strdup("present"), NULL,
                       FALSE);
    }
    for (guint i = 0; i < next->len; i++) {
        const Handler *after = next->pdata[i];
        const Handler *before = handler_configs_find(running, after->name);

        if (before == NULL)
            change_add(changes, g_strdup_printf("handlers.%s", after->name), NULL, g_strdup("present"),
                       FALSE);
        else if (!handler_reload(before, after, changes, error))
            return FALSE;
    }
    return TRUE;
}

Settings *config_reload(int argc, char **argv, const Settings *running, GPtrArray **ret_changes,
                        GError **error)
{
    g_autoptr(GPtrArray) changes = g_ptr_array_new_with_free_func(change_free);
    ConfigAction action = CONFIG_RUN;
    g_autoptr(Settings) next = config_read(argc, argv, &action, error);

    if (next == NULL)
        return NULL;
    for (gsize i = 0; i < N_OPTIONS; i++)
        if (!option_reload(&option_rows[i], option_rows[i].section, option_field(&option_rows[i], running),
                           option_field(&option_rows[i], next), changes, error))
            return NULL;
    if (!config_complete(next, error) || !handlers_reload(running->handlers, next->handlers, changes, error))
        return NULL;
    *ret_changes = g_steal_pointer(&changes);
    return g_steal_pointer(&next);
}
