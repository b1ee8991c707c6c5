/* crivirtd's configuration: one TOML file and a flag for each of its options, both from options.def.
 *
 * Precedence: flag, file, default. Unknown sections, keys and flags and bad values are INVALID_ARGUMENT
 * naming the file, the line and the key, or the flag, and what is allowed. A loaded Config is constant.
 */
#pragma once

#include "cri-server/config/handler_config.h"

#define CONFIG_DEFAULT_PATH "/etc/crivirt/crivirt.toml"

typedef struct {
#define OPTION(TYPE, section, key, flag, field, default_text, limits, help) CONFIG_TYPE_##TYPE field;
#include "cri-server/config/options.def"
#undef OPTION
    GPtrArray *handlers; /* HandlerConfig; the first is the default */
} Config;

/* What the command line says beside the options' values. */
typedef enum {
    CONFIG_RUN,
    CONFIG_VERSION,
    CONFIG_DUMP_DEFAULT, /* print the file with every option and its default */
    CONFIG_PRINT,        /* print the configuration in force */
    CONFIG_CHECK,        /* check it and this node */
} ConfigAction;

/* Reads argv and the file that it names (else CONFIG_DEFAULT_PATH, if that exists). --help prints and exits.
 */
Config *config_load(int argc, char **argv, ConfigAction *ret_action, GError **error);
void config_free(Config *config); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)

/* The file: with NULL every option commented out at its default, else with the values of config. */
char *config_to_toml(const Config *config);
/* The configuration as a JSON object of sections. */
char *config_to_json(const Config *config);
