/* SPDX-License-Identifier: Apache-2.0 */
/* Parses command-line options by a table whose rows are an option and its help.
 *
 * Accepted forms: --name VALUE, --name=VALUE, -n VALUE, -nVALUE, -n=VALUE, grouped flags (-aq),
 * --flag=false, and "--" as the end of options. A command whose operands are another program's words ends
 * its options at the first operand, as `docker run` does.
 *
 * Ownership: strings belong to the Options.
 *
 * Errors: of the domain USAGE_ERROR; the message names the option.
 *
 * Threads: one.
 */
#pragma once

#include <glib.h>

#define USAGE_ERROR (usage_error_quark())
GQuark usage_error_quark(void);
/* Sets *error. Return: FALSE. */
gboolean usage_fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
#ifdef __clang_analyzer__
#define usage_fail(...) ((void)(usage_fail)(__VA_ARGS__), FALSE) /* as in common/error.h */
#endif
/* Turns any error into a usage error about that option: "invalid value for --memory: …". Return: FALSE. */
gboolean usage_blame(GError **error, const char *option);

typedef enum { OPTION_FLAG, OPTION_VALUE, OPTION_LIST } OptionKind;

typedef struct {
    const char *name; /* without dashes; NULL ends a table */
    char letter;      /* 0: none */
    OptionKind kind;
    const char
        *value; /* the word for the value in the help: "SIZE"; "a|b|c" allows only these; NULL for flags */
    const char *help;
} OptionSpec;

typedef struct Options Options;

/* tables is a NULL-terminated vector of OptionSpec tables, in which the first match wins. argv is the words
 * after the command, NULL-terminated. */
Options *options_parse(const OptionSpec *const *tables, gboolean end_at_operand, const char *const *argv,
                       GError **error);
void options_free(Options *options); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Options, options_free)

gboolean options_flag(const Options *options, const char *name);
/* Return: the last value given, or fallback (which may be NULL). */
const char *options_value(const Options *options, const char *name, const char *fallback);
/* Return: all values in order; an empty vector when there is none. */
const char *const *options_list(const Options *options, const char *name);
const char *const *options_operands(const Options *options);
guint options_n_operands(const Options *options);
