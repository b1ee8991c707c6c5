/* One option's value: from text or TOML, checked against its limits, and back. */
#pragma once

#include "common/toml.h"

typedef enum {
    OPTION_STRING,
    OPTION_PATH,
    OPTION_CHOICE,
    OPTION_LIST,
    OPTION_ADDRESS, /* "127.0.0.1:9099" (listen_address.h), or "" */
    OPTION_BOOL,
    OPTION_COUNT,
    OPTION_SIZE,     /* "256MiB": B, KiB, MiB, GiB, TiB */
    OPTION_DURATION, /* "60s": ms, s, m, h */
} OptionType;

/* A row of options.def. A field is a char *, a char ** (LIST), a gboolean (BOOL) or a guint64 (COUNT, SIZE,
 * DURATION). */
typedef struct Option {
    OptionType type;
    const char *section;
    const char *key;
    const char *flag;
    gsize offset;
    const char *default_text;
    const char *limits;
    const char *help;
} Option;

/* Replaces *field; INVALID_ARGUMENT says what is wrong and what is allowed. */
gboolean option_set_text(const Option *option, const char *text, gpointer field, GError **error);
/* The same from the option's key in the table, which must be there. */
gboolean option_set_toml(const Option *option, const TomlTable *table, gpointer field, GError **error);
void option_clear(const Option *option, gpointer field);

/* As a flag takes it, and as a TOML value; the caller frees. */
char *option_to_text(const Option *option, gconstpointer field);
char *option_to_toml(const Option *option, gconstpointer field);
/* "1s to 1h", "auto, kvm or tcg", "" when anything is; the caller frees. */
char *option_allowed(const Option *option);
const char *option_metavar(const Option *option);

/* A field of its own that holds the default. */
typedef struct {
    const Option *option;
    gpointer value; /* what a field pointer points to */
} OptionDefault;
OptionDefault option_default(const Option *option);
void option_default_clear(OptionDefault *standard);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(OptionDefault, option_default_clear)
