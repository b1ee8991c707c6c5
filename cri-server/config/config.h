/* SPDX-License-Identifier: Apache-2.0 */
/* Loads crivirtd's configuration: one TOML file, and a flag for each option. A flag overrides the file, and
 * the file overrides the default. The options are the rows of common/settings/options.def.
 *
 * Errors: INVALID_ARGUMENT for unknown sections, keys and flags and for bad values; the message names the
 * file, line and key, or the flag, and the values that are allowed.
 */
#pragma once

#include "common/settings/settings.h"

#define CONFIG_DEFAULT_PATH "/etc/crivirt/crivirt.toml"

/* What the command line asks for beside the options' values. */
typedef enum {
    CONFIG_RUN,
    CONFIG_VERSION,
    CONFIG_DUMP_DEFAULT, /* print a file with every option and its default */
    CONFIG_PRINT,        /* print the configuration in force */
    CONFIG_CHECK,        /* check the configuration and this node */
} ConfigAction;

/* Reads argv and the file that it names, or CONFIG_DEFAULT_PATH if that exists. --help prints and exits the
 * process. */
Settings *config_load(int argc, char **argv, ConfigAction *ret_action, GError **error);
void config_free(Settings *settings); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Settings, config_free)

/* Return: the file with the values of settings, or with NULL a file in which every option is commented out
 * and shows its default; the caller frees it. */
char *config_to_toml(const Settings *settings);
/* Return: the configuration as a JSON object of sections; the caller frees it. */
char *config_to_json(const Settings *settings);
