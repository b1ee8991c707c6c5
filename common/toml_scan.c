/* SPDX-License-Identifier: Apache-2.0 */
#include "common/toml_scan.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "common/error.h"

gboolean(toml_scan_fail)(const TomlScanner *scanner, GError **error, const char *format, ...)
{
    g_autofree char *what = NULL;
    va_list args;

    va_start(args, format);
    what = g_strdup_vprintf(format, args);
    va_end(args);
    return fail(error, STATUS_INVALID_ARGUMENT, "%s:%u: %s%s%s", scanner->source, scanner->line,
                scanner->key != NULL ? scanner->key : "", scanner->key != NULL ? ": " : "", what);
}

static gsize left(const TomlScanner *scanner)
{
    return (gsize)(scanner->end - scanner->at);
}

static gboolean looking_at(const TomlScanner *scanner, const char *text)
{
    gsize length = strlen(text);

    return left(scanner) >= length && memcmp(scanner->at, text, length) == 0;
}

gboolean toml_scan_accept(TomlScanner *scanner, char wanted)
{
    if (scanner->at == scanner->end || *scanner->at != wanted)
        return FALSE;
    scanner->at++;
    return TRUE;
}

void toml_scan_space(TomlScanner *scanner)
{
    while (toml_scan_peek(scanner) == ' ' || toml_scan_peek(scanner) == '\t')
        scanner->at++;
}

static gboolean accept_newline(TomlScanner *scanner)
{
    if (looking_at(scanner, "\r\n"))
        scanner->at++;
    if (!toml_scan_accept(scanner, '\n'))
        return FALSE;
    scanner->line++;
    return TRUE;
}

static gboolean is_control(char c)
{
    return ((guchar)c < 0x20 && c != '\t') || c == 0x7f;
}

static gboolean skip_comment(TomlScanner *scanner, GError **error)
{
    if (!toml_scan_accept(scanner, '#'))
        return TRUE;
    while (scanner->at < scanner->end && *scanner->at != '\n' && !looking_at(scanner, "\r\n")) {
        if (is_control(*scanner->at))
            return toml_scan_fail(scanner, error, "control character in a comment");
        scanner->at++;
    }
    return TRUE;
}

gboolean toml_scan_blank(TomlScanner *scanner, GError **error)
{
    do {
        toml_scan_space(scanner);
        if (!skip_comment(scanner, error))
            return FALSE;
    } while (accept_newline(scanner));
    return TRUE;
}

gboolean toml_scan_line_end(TomlScanner *scanner, GError **error)
{
    toml_scan_space(scanner);
    if (!skip_comment(scanner, error))
        return FALSE;
    if (scanner->at < scanner->end && !accept_newline(scanner))
        return toml_scan_fail(scanner, error, "the line should end after the value");
    return TRUE;
}

static gboolean is_bare(char c)
{
    return g_ascii_isalnum(c) || c == '_' || c == '-';
}

gboolean toml_key_is_bare(const char *key)
{
    const char *at = key;

    while (is_bare(*at))
        at++;
    return at != key && *at == '\0';
}

/* Reads the hexadecimal digits of \u or \U, which name a Unicode scalar value. */
static gboolean scan_unicode(TomlScanner *scanner, guint digits, GString *string, GError **error)
{
    gunichar c = 0;

    for (guint i = 0; i < digits; i++) {
        int digit = g_ascii_xdigit_value(toml_scan_peek(scanner));

        if (digit < 0)
            return toml_scan_fail(scanner, error, "an escape needs %u hexadecimal digits", digits);
        c = c << 4 | (gunichar)digit;
        scanner->at++;
    }
    /* TOML allows NUL, but the strings of C end there. */
    if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return toml_scan_fail(scanner, error, "an escape names no usable character");
    g_string_append_unichar(string, c);
    return TRUE;
}

/* Reads an escape after its backslash. */
static gboolean scan_escape(TomlScanner *scanner, GString *string, GError **error)
{
    static const char names[] = "btnfr\"\\";
    static const char meanings[] = "\b\t\n\f\r\"\\";
    char name = toml_scan_peek(scanner);
    const char *found = name != '\0' ? strchr(names, name) : NULL;

    if (found == NULL && name != 'u' && name != 'U')
        return toml_scan_fail(scanner, error, "unknown escape in a string");
    scanner->at++;
    if (found == NULL)
        return scan_unicode(scanner, name == 'u' ? 4 : 8, string, error);
    g_string_append_c(string, meanings[found - names]);
    return TRUE;
}

static gboolean scan_short_string(TomlScanner *scanner, char quote, GString *string, GError **error)
{
    while (!toml_scan_accept(scanner, quote)) {
        if (scanner->at == scanner->end || *scanner->at == '\n' || looking_at(scanner, "\r\n"))
            return toml_scan_fail(scanner, error, "the string is not closed");
        if (is_control(*scanner->at))
            return toml_scan_fail(scanner, error, "control character in a string");
        if (quote == '"' && toml_scan_accept(scanner, '\\')) {
            if (!scan_escape(scanner, string, error))
                return FALSE;
            continue;
        }
        g_string_append_c(string, *scanner->at++);
    }
    return TRUE;
}

/* After a backslash: skips a line end, and all white space up to the next text. Return: whether the line
 * ended there. */
static gboolean accept_line_continuation(TomlScanner *scanner)
{
    TomlScanner ahead = *scanner;

    toml_scan_space(&ahead);
    if (!accept_newline(&ahead))
        return FALSE;
    do
        toml_scan_space(&ahead);
    while (accept_newline(&ahead));
    *scanner = ahead;
    return TRUE;
}

static gboolean scan_long_string(TomlScanner *scanner, char quote, GString *string, GError **error)
{
    const char closing[] = {quote, quote, quote, '\0'};

    accept_newline(scanner); /* a line end right after the opening quotes is no part of the string */
    for (;;) {
        if (looking_at(scanner, closing)) {
            scanner->at += 3;
            /* Up to two quotes before the closing ones belong to the text. */
            for (int i = 0; i < 2 && toml_scan_accept(scanner, quote); i++)
                g_string_append_c(string, quote);
            return TRUE;
        }
        if (scanner->at == scanner->end)
            return toml_scan_fail(scanner, error, "the string is not closed");
        if (accept_newline(scanner)) {
            g_string_append_c(string, '\n');
        } else if (is_control(*scanner->at)) {
            return toml_scan_fail(scanner, error, "control character in a string");
        } else if (quote == '"' && toml_scan_accept(scanner, '\\')) {
            if (!accept_line_continuation(scanner) && !scan_escape(scanner, string, error))
                return FALSE;
        } else {
            g_string_append_c(string, *scanner->at++);
        }
    }
}

static gboolean scan_quoted(TomlScanner *scanner, gboolean allow_long, char **ret_string, GError **error)
{
    char quote = *scanner->at;
    const char triple[] = {quote, quote, quote, '\0'};
    gboolean is_long = allow_long && looking_at(scanner, triple);
    g_autoptr(GString) string = g_string_new(NULL);

    scanner->at += is_long ? 3 : 1;
    if (!(is_long ? scan_long_string : scan_short_string)(scanner, quote, string, error))
        return FALSE;
    *ret_string = g_string_free(g_steal_pointer(&string), FALSE);
    return TRUE;
}

gboolean toml_scan_string(TomlScanner *scanner, char **ret_string, GError **error)
{
    return scan_quoted(scanner, TRUE, ret_string, error);
}

gboolean toml_scan_key(TomlScanner *scanner, char **ret_key, GError **error)
{
    const char *start = scanner->at;
    char c = toml_scan_peek(scanner);

    if (c == '"' || c == '\'')
        return scan_quoted(scanner, FALSE, ret_key, error);
    while (is_bare(toml_scan_peek(scanner)))
        scanner->at++;
    if (scanner->at == start)
        return toml_scan_fail(scanner, error, "a key was expected");
    *ret_key = g_strndup(start, (gsize)(scanner->at - start));
    return TRUE;
}

/* Reads digits of a base, with underscores only between them, and appends the digits alone to digits.
 * Return: the character after them; NULL when there are none. */
static const char *take_digits(const char *at, guint base, GString *digits)
{
    gboolean after_digit = FALSE;

    for (;; at++) {
        int value = g_ascii_xdigit_value(*at);

        if (value >= 0 && (guint)value < base) {
            g_string_append_c(digits, *at);
            after_digit = TRUE;
        } else if (*at == '_' && after_digit) {
            after_digit = FALSE;
        } else {
            return after_digit ? at : NULL;
        }
    }
}

static gboolean parse_prefixed(const char *word, guint base, gint64 *ret_integer)
{
    g_autoptr(GString) digits = g_string_new(NULL);
    const char *end = take_digits(word + 2, base, digits);
    guint64 value;

    if (end == NULL || *end != '\0' ||
        !g_ascii_string_to_unsigned(digits->str, base, 0, G_MAXINT64, &value, NULL))
        return FALSE;
    *ret_integer = (gint64)value;
    return TRUE;
}

/* Reads [+-] digits [. digits] [e [+-] digits]. */
static gboolean parse_decimal(const char *word, TomlWord *ret_word)
{
    g_autoptr(GString) plain = g_string_new(NULL);
    gboolean is_double = FALSE;
    const char *at = word;

    if (*at == '+' || *at == '-')
        g_string_append_c(plain, *at++);
    if (at[0] == '0' && (g_ascii_isdigit(at[1]) || at[1] == '_'))
        return FALSE;
    at = take_digits(at, 10, plain);
    if (at != NULL && *at == '.') {
        is_double = TRUE;
        g_string_append_c(plain, '.');
        at = take_digits(at + 1, 10, plain);
    }
    if (at != NULL && (*at == 'e' || *at == 'E')) {
        is_double = TRUE;
        g_string_append_c(plain, *at++);
        if (*at == '+' || *at == '-')
            g_string_append_c(plain, *at++);
        at = take_digits(at, 10, plain);
    }
    if (at == NULL || *at != '\0')
        return FALSE;
    if (is_double) {
        *ret_word = (TomlWord){.kind = TOML_WORD_DOUBLE, .real = g_ascii_strtod(plain->str, NULL)};
        return TRUE;
    }
    ret_word->kind = TOML_WORD_INT;
    return g_ascii_string_to_signed(plain->str + (plain->str[0] == '+' ? 1 : 0), 10, G_MININT64, G_MAXINT64,
                                    &ret_word->integer, NULL);
}

static gboolean parse_named(const char *word, TomlWord *ret_word)
{
    const char *name = word + (*word == '+' || *word == '-' ? 1 : 0);
    double sign = *word == '-' ? -1 : 1;

    if (g_str_equal(word, "true") || g_str_equal(word, "false"))
        *ret_word = (TomlWord){.kind = TOML_WORD_BOOL, .boolean = *word == 't'};
    else if (g_str_equal(name, "inf"))
        *ret_word = (TomlWord){.kind = TOML_WORD_DOUBLE, .real = sign * (double)INFINITY};
    else if (g_str_equal(name, "nan"))
        *ret_word = (TomlWord){.kind = TOML_WORD_DOUBLE, .real = sign * (double)NAN};
    else
        return FALSE;
    return TRUE;
}

static gboolean looks_like_time(const char *word)
{
    gsize digits = strspn(word, "0123456789");

    return (digits == 4 && word[4] == '-') || (digits == 2 && word[2] == ':');
}

static gboolean parse_word(const char *word, TomlWord *ret_word)
{
    static const struct {
        const char *prefix;
        guint base;
    } bases[] = {{"0x", 16}, {"0o", 8}, {"0b", 2}};

    for (gsize i = 0; i < G_N_ELEMENTS(bases); i++)
        if (g_str_has_prefix(word, bases[i].prefix)) {
            ret_word->kind = TOML_WORD_INT;
            return parse_prefixed(word, bases[i].base, &ret_word->integer);
        }
    return parse_named(word, ret_word) || parse_decimal(word, ret_word);
}

gboolean toml_scan_word(TomlScanner *scanner, TomlWord *ret_word, GError **error)
{
    const char *start = scanner->at;
    g_autofree char *word = NULL;
    TomlWord result = {0};

    while (is_bare(toml_scan_peek(scanner)) ||
           (scanner->at < scanner->end && strchr("+.:", *scanner->at) != NULL))
        scanner->at++;
    if (scanner->at == start)
        return toml_scan_fail(scanner, error, "a value was expected");
    word = g_strndup(start, (gsize)(scanner->at - start));
    if (looks_like_time(word))
        return toml_scan_fail(scanner, error, "dates and times are not supported: %s", word);
    if (!parse_word(word, &result))
        return toml_scan_fail(scanner, error, "%s is not a value (a string needs quotes)", word);
    *ret_word = result;
    return TRUE;
}
