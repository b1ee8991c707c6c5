/* The [handlers.NAME] tables of the configuration file, from handler_options.def. What a table leaves out is
 * as the rest of the configuration says, flags included; hence reading is one step and completing another.
 */
#pragma once

#include "common/toml.h"
#include "cri-server/config/option_types.h"

typedef struct {
    char *name;
    char *where;      /* "FILE:LINE: handlers.NAME", for messages */
    guint64 is_given; /* bit i: row i of handler_options.def is in the file */
#define HANDLER_OPTION(TYPE, key, field, default_text, limits, help) CONFIG_TYPE_##TYPE field;
#include "cri-server/config/handler_options.def"
#undef HANDLER_OPTION
} HandlerConfig;

/* The text of the option "section.key"; the caller frees. */
typedef char *(*HandlerInherit)(const char *option, gconstpointer data);

/* The default handler, of which nothing is given, then those of the file's table "handlers" (NULL: none);
 * [handlers.vm] is about the default. INVALID_ARGUMENT naming path, line and key. */
gboolean handler_configs_read(const TomlTable *tables, const char *path, GPtrArray **ret_handlers,
                              GError **error);
/* Sets what is not given, and checks what must fit together. host_pods: handlers of kind host are allowed,
 * and the one called "host" is there without being mentioned. */
gboolean handler_configs_complete(GPtrArray *handlers, gboolean host_pods, HandlerInherit inherit,
                                  gconstpointer data, GError **error);

/* With NULL an example that is commented out, else [handlers.NAME] of each. */
void handler_configs_to_toml(const GPtrArray *handlers, GString *out);

/* Walks the rows: for output in another form. */
const struct Option *handler_options(gsize *ret_n);
gboolean handler_config_is_host(const HandlerConfig *handler);
gpointer handler_option_field(const struct Option *option, const HandlerConfig *handler);
