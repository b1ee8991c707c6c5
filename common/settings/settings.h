/* SPDX-License-Identifier: Apache-2.0 */
/* The values of all options, as every part of the daemon reads them: settings->guest.vm_pool_size. The fields
 * come from options.def and handler_options.def, which say their types; cri-server/config fills them in.
 *
 * Ownership: reference-counted; who holds a reference may borrow everything. live_settings.h has the current
 * ones.
 * Threads: constant once loaded; any thread may read.
 */
#pragma once

#include <glib.h>

/* The field of a row, by its TYPE. */
#define SETTING_STRING(key) const char *key
#define SETTING_PATH(key) const char *key
#define SETTING_CHOICE(key) const char *key
#define SETTING_ADDRESS(key) const char *key
#define SETTING_LIST(key) const char *const *key
#define SETTING_BOOL(key) gboolean key
#define SETTING_COUNT(key) guint key
#define SETTING_SIZE(key) guint64 key##_bytes
#define SETTING_DURATION(key) gint64 key##_ms

/* The name of that field. */
#define SETTING_FIELD_STRING(key) key
#define SETTING_FIELD_PATH(key) key
#define SETTING_FIELD_CHOICE(key) key
#define SETTING_FIELD_ADDRESS(key) key
#define SETTING_FIELD_LIST(key) key
#define SETTING_FIELD_BOOL(key) key
#define SETTING_FIELD_COUNT(key) key
#define SETTING_FIELD_SIZE(key) key##_bytes
#define SETTING_FIELD_DURATION(key) key##_ms

/* One [handlers.NAME]. */
typedef struct {
    const char *name;
    const char *where; /* "FILE:LINE: handlers.NAME", for messages */
    guint64 is_given;  /* bit i: row i of handler_options.def is in the file */
#define HANDLER_OPTION(TYPE, key, default_text, limits, when, help) SETTING_##TYPE(key);
#include "common/settings/handler_options.def"
} Handler;

/* Return: whether the handler runs its pods on the node itself, without a VM. */
static inline gboolean handler_is_host(const Handler *handler)
{
    return g_str_equal(handler->kind, "host");
}

typedef struct Settings {
    gatomicrefcount references;              /* counted when free is not NULL */
    void (*free)(struct Settings *settings); /* with the last reference; NULL: the maker keeps them */
#define SECTION(name) struct {
#define SECTION_END(name)                                                                                    \
    }                                                                                                        \
    name;
#define OPTION(TYPE, section, key, flag, default_text, limits, when, help) SETTING_##TYPE(key);
#include "common/settings/options.def"
    GPtrArray *handlers; /* Handler; the first is the default */
} Settings;

/* Return: whether any pod may run on the node itself. */
static inline gboolean settings_allow_host_pods(const Settings *settings)
{
    return !g_str_equal(settings->host.pods, "never");
}

Settings *settings_ref(Settings *settings);
void settings_unref(Settings *settings); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Settings, settings_unref)
