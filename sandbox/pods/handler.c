/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/handler.h"

#include <string.h>

#include "common/error.h"

enum { PARAMETERS_MAX_CHARS = 1024 };

static const guint64 LEAST_MEMORY_BYTES = 64 << 20;

/* Annotations that the command line puts on its own pods; they change no setting. */
#define CLI_PREFIX HANDLER_ANNOTATION_PREFIX "cli/"

/* ---- kinds ---- */

static const char *const kind_names[] = {[HANDLER_VM] = "vm", [HANDLER_HOST] = "host"};

const char *handler_kind_name(HandlerKind kind)
{
    return kind_names[kind];
}

gboolean handler_kind_from_name(const char *name, HandlerKind *ret_kind)
{
    for (guint i = 0; i < G_N_ELEMENTS(kind_names); i++)
        if (g_str_equal(kind_names[i], name)) {
            *ret_kind = (HandlerKind)i;
            return TRUE;
        }
    return FALSE;
}

/* ---- finding ---- */

HandlerKind handler_kind(const Handler *handler)
{
    return handler_is_host(handler) ? HANDLER_HOST : HANDLER_VM;
}

const Handler *handler_find(const GPtrArray *handlers, const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);

    if (*name == '\0')
        return handlers->pdata[0];
    for (guint i = 0; i < handlers->len; i++) {
        const Handler *handler = handlers->pdata[i];

        if (g_str_equal(handler->name, name))
            return handler;
        g_string_append_printf(names, "%s%s", i == 0 ? "" : ", ", handler->name);
    }
    fail(error, STATUS_INVALID_ARGUMENT, "runtime_handler: there is no handler \"%.64s\"; there are: %s",
         name, names->str);
    return NULL;
}

const Handler *handler_find_kind(const GPtrArray *handlers, HandlerKind kind)
{
    for (guint i = 0; i < handlers->len; i++)
        if (handler_kind(handlers->pdata[i]) == kind)
            return handlers->pdata[i];
    return NULL;
}

gboolean handler_allows(const Handler *handler, const Settings *settings, const char *namespace,
                        GError **error)
{
    g_autofree char *allowed = NULL;

    if (!handler_is_host(handler) || g_str_equal(settings->host.pods, "always") ||
        (g_str_equal(settings->host.pods, "namespaces") &&
         g_strv_contains(settings->host.namespaces, namespace)))
        return TRUE;
    allowed = g_strjoinv(", ", (char **)settings->host.namespaces);
    return fail(error, STATUS_PERMISSION_DENIED,
                "host.namespaces: a pod of namespace \"%.64s\" may not run on the node itself; crivirtd's "
                "configuration allows the namespaces: %s",
                namespace, *allowed != '\0' ? allowed : "none");
}

/* ---- annotations ---- */

static gboolean fail_value(const char *value, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
static gboolean fail_value(const char *value, GError **error, const char *format, ...)
{
    g_autofree char *allowed = NULL;
    va_list arguments;

    va_start(arguments, format);
    allowed = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return fail(error, STATUS_INVALID_ARGUMENT, "\"%.100s\" is not allowed; allowed: %s", value, allowed);
}

static gboolean set_vcpus(const Handler *handler, const char *value, HandlerSettings *settings,
                          GError **error)
{
    guint most = handler->max_vcpus != 0 ? handler->max_vcpus : node_capacity().cpus;
    guint64 number;

    if (!g_ascii_string_to_unsigned(value, 10, 1, most, &number, NULL))
        return fail_value(value, error, "1 to %u", most);
    settings->bounds.vcpus = (guint)number;
    return TRUE;
}

/* Parses "512Mi" or "512MiB"; a number without a unit is bytes. */
static gboolean parse_bytes(const char *text, guint64 *ret_bytes)
{
    static const char *const units[] = {"", "Ki", "Mi", "Gi", "Ti"};
    char *end = NULL;
    guint64 number;

    if (!g_ascii_isdigit(*text))
        return FALSE;
    number = g_ascii_strtoull(text, &end, 10);
    for (guint i = 0; i < G_N_ELEMENTS(units); i++) {
        gsize length = strlen(units[i]);

        if (strncmp(end, units[i], length) == 0 && (end[length] == '\0' || g_str_equal(end + length, "B")))
            return g_uint64_checked_mul(ret_bytes, number, G_GUINT64_CONSTANT(1) << (10 * i));
    }
    return FALSE;
}

static gboolean set_memory(const Handler *handler, const char *value, HandlerSettings *settings,
                           GError **error)
{
    guint64 most = handler->max_memory_bytes != 0 ? handler->max_memory_bytes : node_capacity().memory_bytes;
    guint64 bytes;

    if (!parse_bytes(value, &bytes) || bytes < LEAST_MEMORY_BYTES || bytes > most)
        return fail_value(value, error, "%" G_GUINT64_FORMAT "MiB to %" G_GUINT64_FORMAT "MiB",
                          LEAST_MEMORY_BYTES >> 20, most >> 20);
    settings->bounds.memory_bytes = bytes;
    return TRUE;
}

/* Plain words only: with quotes, only the kernel's own parser can separate the parameters. */
static gboolean is_plain(const char *text)
{
    for (; *text != '\0'; text++)
        if (!g_ascii_isprint(*text) || *text == '"')
            return FALSE;
    return TRUE;
}

static gboolean may_set_parameter(const Handler *handler, const char *word)
{
    g_autofree char *name = g_strndup(word, strcspn(word, "="));

    /* The words after "--" are the agent's command line. */
    if (g_str_equal(word, "--"))
        return FALSE;
    return *word == '\0' || *handler->pod_kernel_parameters == NULL ||
           g_strv_contains(handler->pod_kernel_parameters, name);
}

static gboolean set_kernel_parameters(const Handler *handler, const char *value, HandlerSettings *settings,
                                      GError **error)
{
    g_auto(GStrv) words = g_strsplit(value, " ", 0);
    char *joined;

    if (strlen(value) > PARAMETERS_MAX_CHARS || !is_plain(value))
        return fail_value(value, error, "up to %d printable ASCII characters, no quotes",
                          PARAMETERS_MAX_CHARS);
    for (char **word = words; *word != NULL; word++) {
        g_autofree char *names = g_strjoinv(", ", (char **)handler->pod_kernel_parameters);

        if (!may_set_parameter(handler, *word))
            return fail_value(*word, error, "%s", *names != '\0' ? names : "parameters of the kernel");
    }
    joined =
        g_strjoin(*settings->kernel_parameters != '\0' ? " " : "", settings->kernel_parameters, value, NULL);
    g_free(settings->kernel_parameters);
    settings->kernel_parameters = joined;
    return TRUE;
}

/* A new annotation is a new row. */
static const struct {
    const char *name;
    gboolean (*set)(const Handler *handler, const char *value, HandlerSettings *settings, GError **error);
} annotations[] = {
    {"vcpus", set_vcpus},
    {"memory", set_memory},
    {"kernel-parameters", set_kernel_parameters},
};

static gboolean apply_annotation(const Handler *handler, const char *name, const char *value,
                                 HandlerSettings *settings, GError **error)
{
    if (!g_strv_contains(handler->annotations, name)) {
        g_autofree char *allowed = g_strjoinv(", " HANDLER_ANNOTATION_PREFIX, (char **)handler->annotations);

        return fail(error, STATUS_INVALID_ARGUMENT, "handler \"%s\" lets no pod set it; it allows: %s%s",
                    handler->name, *allowed != '\0' ? HANDLER_ANNOTATION_PREFIX : "none", allowed);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(annotations); i++)
        if (g_str_equal(annotations[i].name, name))
            return annotations[i].set(handler, value, settings, error);
    return fail(error, STATUS_INVALID_ARGUMENT, "there is no such annotation");
}

gboolean handler_settings(const Handler *handler, const Runtime__V1__PodSandboxConfig *config,
                          HandlerSettings *ret_settings, GError **error)
{
    g_auto(HandlerSettings) settings = {
        .bounds = {.vcpus = handler->vcpus,
                   .max_vcpus = handler->max_vcpus,
                   .memory_bytes = handler->memory_bytes,
                   .max_memory_bytes = handler->max_memory_bytes},
        .kernel = handler->kernel,
        .initrd = handler->initrd,
        .accelerator = handler->accelerator,
        .cpu = handler->cpu,
        .kernel_parameters = g_strdup(handler->kernel_parameters),
        .template = handler->template,
    };

    for (size_t i = 0; i < config->n_annotations; i++) {
        const char *key = config->annotations[i]->key;

        if (!g_str_has_prefix(key, HANDLER_ANNOTATION_PREFIX) || g_str_has_prefix(key, CLI_PREFIX))
            continue;
        if (!apply_annotation(handler, key + strlen(HANDLER_ANNOTATION_PREFIX), config->annotations[i]->value,
                              &settings, error)) {
            g_prefix_error(error, "config.annotations: %.100s: ", key);
            return FALSE;
        }
    }
    *ret_settings = settings;
    settings = (HandlerSettings){0};
    return TRUE;
}

void handler_settings_clear(HandlerSettings *settings)
{
    g_clear_pointer(&settings->kernel_parameters, g_free);
}
