/* SPDX-License-Identifier: Apache-2.0 */
/* Loads crivirtd's configuration: a TOML file, its drop-ins, and a flag for each option. The drop-ins of FILE
 * are FILE.d/NAME.toml in the order of their names; each overrides, key by key, what was read before it. A
 * flag overrides all files, and a file the default. The options are the rows of common/settings/options.def.
 *
 * Errors: INVALID_ARGUMENT for unknown sections, keys and flags and for bad values; the message names the
 * file, line and key, or the flag, and the values that are allowed.
 */
#pragma once

#include "common/settings/settings.h"

#define CONFIG_DEFAULT_PATH "/etc/crivirt/crivirt.toml"
#define CONFIG_DROP_IN_SUFFIX ".d"

/* What the command line asks for beside the options' values. */
typedef enum {
    CONFIG_RUN,
    CONFIG_VERSION,
    CONFIG_DUMP_DEFAULT, /* print a file with every option and its default */
    CONFIG_PRINT,        /* print the configuration in force */
    CONFIG_CHECK,        /* check the configuration and this node */
} ConfigAction;

/* Reads argv and the file that it names, or CONFIG_DEFAULT_PATH if that exists. --help prints and exits the
 * process. Return: a reference of the caller's. */
Settings *config_load(int argc, char **argv, ConfigAction *ret_action, GError **error);

/* An option whose value in the files differs from that in force. */
typedef struct {
    char *name;             /* "log.level", "handlers.small.memory"; "handlers.small": the whole handler */
    char *before;           /* as in TOML; NULL: the handler is new */
    char *after;            /* NULL: the handler is gone */
    gboolean needs_restart; /* the value in force stays until the next daemon */
} ConfigChange;

/* Reads the files again, with the same command line as config_load(). *ret_changes: ConfigChange, freed by
 * the array. Return: a reference to settings in which the options that a reload cannot change have their
 * values of `running`. */
Settings *config_reload(int argc, char **argv, const Settings *running, GPtrArray **ret_changes,
                        GError **error);

/* Return: the file with the values of settings, or with NULL a file in which every option is commented out
 * and shows its default; the caller frees it. */
char *config_to_toml(const Settings *settings);
/* Return: the configuration as a JSON object of sections; the caller frees it. */
char *config_to_json(const Settings *settings);
