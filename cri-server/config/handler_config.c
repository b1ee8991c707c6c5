/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/config/handler_config.h"

#include <string.h>

#include "common/error.h"
#include "common/settings/pod_defaults.h"
#include "cri-server/config/option_value.h"

#define DEFAULT_NAME "vm"
#define HOST_NAME "host"

enum { NAME_MAX_CHARS = 63 };

static const Option options[] = {
#define HANDLER_OPTION(TYPE, key, default_text, limits, when, help)                                          \
    {OPTION_TYPE_##TYPE,                                                                                     \
     OPTION_##when,                                                                                          \
     "handlers",                                                                                             \
     #key,                                                                                                   \
     NULL,                                                                                                   \
     G_STRUCT_OFFSET(Handler, SETTING_FIELD_##TYPE(key)),                                                    \
     default_text,                                                                                           \
     limits,                                                                                                 \
     help},
#include "common/settings/handler_options.def"
};
G_STATIC_ASSERT(G_N_ELEMENTS(options) <= 64); /* Handler.is_given */

const Option *handler_options(gsize *ret_n)
{
    *ret_n = G_N_ELEMENTS(options);
    return options;
}

gpointer handler_option_field(const Option *option, const Handler *handler)
{
    return (char *)handler + option->offset;
}

static Handler *handler_new(const char *name, const char *where)
{
    Handler *handler = g_new0(Handler, 1);

    handler->name = g_strdup(name);
    handler->where = g_strdup(where);
    return handler;
}

static void handler_free(gpointer data)
{
    Handler *handler = data;

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        option_clear(&options[i], handler_option_field(&options[i], handler));
    g_free((char *)handler->name);
    g_free((char *)handler->where);
    g_free(handler);
}

/* ---- reading ---- */

/* RuntimeClass.handler is a DNS label (RFC 1123). */
static gboolean is_label(const char *name)
{
    gsize length = strlen(name);

    return length > 0 && length <= NAME_MAX_CHARS && *name != '-' && name[length - 1] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

static gboolean check_keys(const TomlTable *table, GError **error)
{
    const char *known[G_N_ELEMENTS(options) + 1] = {NULL};

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        known[i] = options[i].key;
    return toml_check_keys(table, known, error);
}

static gboolean read_table(const TomlTable *table, const char *path, Handler *handler, GError **error)
{
    if (!check_keys(table, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
        GError *problem = NULL;

        if (!toml_has(table, options[i].key))
            continue;
        if (!option_set_toml(&options[i], table, handler_option_field(&options[i], handler), &problem)) {
            /* Errors of the TOML reader name the place; errors about a value do not. */
            if (!g_str_has_prefix(problem->message, path))
                g_prefix_error(&problem, "%s:%u: handlers.%s.%s: ", path, toml_line(table, options[i].key),
                               handler->name, options[i].key);
            g_propagate_error(error, problem);
            return FALSE;
        }
        handler->is_given |= G_GUINT64_CONSTANT(1) << i;
    }
    return TRUE;
}

Handler *handler_configs_find(const GPtrArray *handlers, const char *name)
{
    for (guint i = 0; i < handlers->len; i++)
        if (g_str_equal(((const Handler *)handlers->pdata[i])->name, name))
            return handlers->pdata[i];
    return NULL;
}

static gboolean read_handler(const TomlTable *tables, const char *name, const char *path, GPtrArray *handlers,
                             GError **error)
{
    GError *problem = NULL;
    const TomlTable *table = toml_get_table(tables, name, &problem);
    g_autofree char *where = g_strdup_printf("%s:%u: handlers.%s", path, toml_line(tables, name), name);
    Handler *handler = handler_configs_find(handlers, name);

    if (problem != NULL) {
        g_propagate_error(error, problem);
        return FALSE;
    }
    if (!is_label(name))
        return fail(
            error, STATUS_INVALID_ARGUMENT,
            "%s: a handler's name has at most %d characters, of a to z, 0 to 9 and -, and does not begin or "
            "end with -",
            where, NAME_MAX_CHARS);
    if (handler != NULL) { /* the default, or one of a file that was read before */
        g_free((char *)handler->where);
        handler->where = g_strdup(where);
    } else {
        handler = handler_new(name, where);
        g_ptr_array_add(handlers, handler);
    }
    return read_table(table, path, handler, error);
}

GPtrArray *handler_configs_new(void)
{
    GPtrArray *handlers = g_ptr_array_new_with_free_func(handler_free);

    g_ptr_array_add(handlers, handler_new(DEFAULT_NAME, "handlers." DEFAULT_NAME));
    return handlers;
}

gboolean handler_configs_read(const TomlTable *tables, const char *path, GPtrArray *handlers, GError **error)
{
    g_autofree const char **names = toml_keys(tables);

    for (const char **name = names; *name != NULL; name++)
        if (!read_handler(tables, *name, path, handlers, error))
            return FALSE;
    return TRUE;
}

/* ---- completing ---- */

static gboolean set_default(const Option *option, Handler *handler, const HandlerDefaults *defaults,
                            GError **error)
{
    g_autofree char *text = *option->default_text == '='
                                ? defaults->inherit(option->default_text + 1, defaults->data)
                                : g_strdup(option->default_text);

    if (option_set_text(option, text, handler_option_field(option, handler), error))
        return TRUE;
    g_prefix_error(error, "%s.%s: ", handler->where, option->key);
    return FALSE;
}

static gboolean check_sizes(const Handler *handler, GError **error)
{
    if (handler->max_vcpus != 0 && handler->max_vcpus < handler->vcpus)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s.max_vcpus: %u is less than its vcpus, %u",
                    handler->where, handler->max_vcpus, handler->vcpus);
    if (handler->max_memory_bytes != 0 && handler->max_memory_bytes < handler->memory_bytes)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "%s.max_memory: %" G_GUINT64_FORMAT "MiB is less than its memory, %" G_GUINT64_FORMAT
                    "MiB",
                    handler->where, handler->max_memory_bytes >> 20, handler->memory_bytes >> 20);
    return TRUE;
}

static gboolean check_defaults(const Handler *handler, GError **error)
{
    if (pod_defaults_check(handler, error))
        return TRUE;
    g_prefix_error(error, "%s.", handler->where);
    return FALSE;
}

static gboolean check_host(const Handler *handler, gboolean host_pods, GError **error)
{
    if (!host_pods)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s.kind: host is not allowed while host.pods is never",
                    handler->where);
    if (g_str_has_suffix(handler->where, "handlers." DEFAULT_NAME))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "%s.kind: the default handler runs VMs; host pods get the handler \"" HOST_NAME
                    "\" without naming it",
                    handler->where);
    if (*handler->annotations != NULL)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "%s.annotations: a handler of kind host has no VM that annotations could change",
                    handler->where);
    return TRUE;
}

static gboolean has_host(const GPtrArray *handlers)
{
    for (guint h = 0; h < handlers->len; h++) {
        const Handler *handler = handlers->pdata[h];

        if (g_strcmp0(handler->kind, HOST_NAME) == 0 || g_str_equal(handler->name, HOST_NAME))
            return TRUE;
    }
    return FALSE;
}

static void add_host(GPtrArray *handlers)
{
    Handler *handler = handler_new(HOST_NAME, "handlers." HOST_NAME);

    handler->kind = g_strdup(HOST_NAME);
    handler->is_given = 1; /* kind is the first row */
    g_ptr_array_add(handlers, handler);
}

gboolean handler_configs_complete(GPtrArray *handlers, const HandlerDefaults *defaults, GError **error)
{
    if (defaults->host_pods && !has_host(handlers))
        add_host(handlers);
    for (guint h = 0; h < handlers->len; h++) {
        Handler *handler = handlers->pdata[h];

        for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
            if ((handler->is_given >> i & 1) == 0 && !set_default(&options[i], handler, defaults, error))
                return FALSE;
        if (!check_sizes(handler, error) || !check_defaults(handler, error) ||
            (handler_is_host(handler) && !check_host(handler, defaults->host_pods, error)))
            return FALSE;
    }
    return TRUE;
}

/* ---- printing ---- */

static gboolean is_inherited(const Handler *handler, gsize i)
{
    return *options[i].default_text == '=' && (handler->is_given >> i & 1) == 0;
}

static void append_example(GString *out)
{
    g_string_append(
        out, "\n# A handler is a way in which this node runs pods. A RuntimeClass names one; the default is "
             "\"vm\".\n# A key that [handlers.NAME] leaves out has the value of the general "
             "option above.\n#[handlers.vm]\n");
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
        g_autofree char *allowed = option_allowed(&options[i]);

        g_string_append_printf(out, "\n# %s\n", options[i].help);
        if (*allowed != '\0')
            g_string_append_printf(out, "# Allowed: %s.\n", allowed);
        if (*options[i].default_text == '=') {
            g_string_append_printf(out, "# %s: as %s\n", options[i].key, options[i].default_text + 1);
        } else {
            g_auto(OptionDefault) standard = option_default(&options[i]);
            g_autofree char *text = option_to_toml(&options[i], standard.value);

            g_string_append_printf(out, "#%s = %s\n", options[i].key, text);
        }
    }
}

void handler_configs_to_toml(const GPtrArray *handlers, GString *out)
{
    if (handlers == NULL)
        append_example(out);
    for (guint h = 0; handlers != NULL && h < handlers->len; h++) {
        const Handler *handler = handlers->pdata[h];

        g_string_append_printf(out, "\n[handlers.%s]\n", handler->name);
        for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
            g_autofree char *text = option_to_toml(&options[i], handler_option_field(&options[i], handler));

            if (is_inherited(handler, i))
                g_string_append_printf(out, "# %s: as %s\n", options[i].key, options[i].default_text + 1);
            else
                g_string_append_printf(out, "%s = %s\n", options[i].key, text);
        }
    }
}
