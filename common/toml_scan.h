/* SPDX-License-Identifier: Apache-2.0 */
/* The characters of TOML: white space, comments, keys, strings and numbers. toml.c parses what they form.
 *
 * A scanner borrows its text, which must be valid UTF-8 without NUL. Every failure is INVALID_ARGUMENT,
 * prefixed by source, line and, while a value is being read, the key.
 */
#pragma once

#include <glib.h>

typedef struct {
    const char *source;
    const char *at;
    const char *end;
    guint line;
    const char *key; /* borrowed; NULL outside values */
} TomlScanner;

gboolean toml_scan_fail(const TomlScanner *scanner, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
#ifdef __clang_analyzer__
#define toml_scan_fail(...) ((void)(toml_scan_fail)(__VA_ARGS__), FALSE) /* as in common/error.h */
#endif

/* Return: the next character, '\0' at the end. */
static inline char toml_scan_peek(const TomlScanner *scanner)
{
    return (char)(scanner->at < scanner->end ? *scanner->at : '\0');
}

/* Steps over the character when it is next. Return: whether it was. */
gboolean toml_scan_accept(TomlScanner *scanner, char wanted);
/* Steps over spaces and tabs. */
void toml_scan_space(TomlScanner *scanner);
/* Steps over spaces, comments and line ends. */
gboolean toml_scan_blank(TomlScanner *scanner, GError **error);
/* Steps over spaces, a comment and the line end. Return: FALSE when other text follows. */
gboolean toml_scan_line_end(TomlScanner *scanner, GError **error);

/* Reads one part of a dotted key, bare or quoted. The caller frees it. */
gboolean toml_scan_key(TomlScanner *scanner, char **ret_key, GError **error);
gboolean toml_scan_string(TomlScanner *scanner, char **ret_string, GError **error);

typedef enum { TOML_WORD_BOOL, TOML_WORD_INT, TOML_WORD_DOUBLE } TomlWordKind;
typedef struct {
    TomlWordKind kind;
    gboolean boolean;
    gint64 integer;
    double real;
} TomlWord;
/* Reads a value without quotes: boolean, integer or float. */
gboolean toml_scan_word(TomlScanner *scanner, TomlWord *ret_word, GError **error);

/* Return: whether a key needs no quotes. */
gboolean toml_key_is_bare(const char *key);
