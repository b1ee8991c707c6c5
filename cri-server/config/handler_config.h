/* SPDX-License-Identifier: Apache-2.0 */
/* Reads, completes and prints the [handlers.NAME] tables of the configuration file. A key that a table leaves
 * out has the value of the general option, which a flag may set; so reading and completing are separate
 * steps.
 */
#pragma once

#include "common/settings/settings.h"
#include "common/toml.h"

/* Return: the text of the option "section.key"; the caller frees it. */
typedef char *(*HandlerInherit)(const char *option, gconstpointer data);

/* Return: the handlers of an empty file, which are the default one, "vm"; it stays the first. The array frees
 * them. */
GPtrArray *handler_configs_new(void);
/* Adds the handlers of a file's table "handlers". A key of a handler that is there already is replaced.
 * Errors: INVALID_ARGUMENT naming path, line and key. */
gboolean handler_configs_read(const TomlTable *tables, const char *path, GPtrArray *handlers, GError **error);

/* Return: the handler of that name; NULL: there is none. */
Handler *handler_configs_find(const GPtrArray *handlers, const char *name);

/* Where the keys that a table leaves out get their values. */
typedef struct {
    gboolean host_pods; /* allow handlers of kind host, and add one called "host" unless the file has one */
    HandlerInherit inherit;
    gconstpointer data; /* of inherit */
} HandlerDefaults;
/* Sets the keys that the file leaves out, and checks that each handler's keys fit together.
 * Errors: INVALID_ARGUMENT naming the handler and the key. */
gboolean handler_configs_complete(GPtrArray *handlers, const HandlerDefaults *defaults, GError **error);

/* Appends [handlers.NAME] for each handler; for NULL, an example that is commented out. */
void handler_configs_to_toml(const GPtrArray *handlers, GString *out);

/* Return: the rows of handler_options.def; static. */
const struct Option *handler_options(gsize *ret_n);
gpointer handler_option_field(const struct Option *option, const Handler *handler);
