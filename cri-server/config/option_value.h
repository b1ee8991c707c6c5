/* SPDX-License-Identifier: Apache-2.0 */
/* Reads one option's value from text or TOML, checks it against its limits, and prints it. */
#pragma once

#include "common/toml.h"

typedef enum {
    OPTION_TYPE_STRING,
    OPTION_TYPE_PATH,
    OPTION_TYPE_CHOICE,
    OPTION_TYPE_LIST,
    OPTION_TYPE_ADDRESS, /* "127.0.0.1:9099" (listen_address.h), or "" */
    OPTION_TYPE_BOOL,
    OPTION_TYPE_COUNT,
    OPTION_TYPE_SIZE,     /* "256MiB": B, KiB, MiB, GiB, TiB */
    OPTION_TYPE_DURATION, /* "60s": ms, s, m, h */
} OptionType;

/* What applies a change in the file: a reload, or only the next daemon. */
typedef enum { OPTION_RELOAD, OPTION_RESTART } OptionWhen;

/* A row of options.def or handler_options.def, which say the type of the field for each TYPE. */
typedef struct Option {
    OptionType type;
    OptionWhen when;
    const char *section;
    const char *key;
    const char *flag;
    gsize offset;
    const char *default_text;
    const char *limits;
    const char *help;
} Option;

/* Replaces the value of a field, and frees the old one.
 * Errors: INVALID_ARGUMENT, which says what is wrong and what is allowed. */
gboolean option_set_text(const Option *option, const char *text, gpointer field, GError **error);
/* The same with the value of the option's key in the table, which must have it. */
gboolean option_set_toml(const Option *option, const TomlTable *table, gpointer field, GError **error);
/* The same with the default; paths of a package are those of the bundle (common/bundle.h). */
gboolean option_set_default(const Option *option, gpointer field, GError **error);
void option_clear(const Option *option, gpointer field);

/* Return: the value as a flag takes it, and as TOML; the caller frees it. */
char *option_to_text(const Option *option, gconstpointer field);
char *option_to_toml(const Option *option, gconstpointer field);
/* Return: "1s to 1h", "auto, kvm, tcg", or "" when any text is allowed; the caller frees it. */
char *option_allowed(const Option *option);
/* Return: a sentence about what applies a change; static. */
const char *option_when_text(const Option *option);
/* Return: the word for the value in --help: "PATH"; static. */
const char *option_metavar(const Option *option);

/* The default value of an option, in a field of its own. */
typedef struct {
    const Option *option;
    gpointer value; /* the field */
} OptionDefault;
OptionDefault option_default(const Option *option);
void option_default_clear(OptionDefault *standard);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(OptionDefault, option_default_clear)
