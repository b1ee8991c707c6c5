/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static size_t skip_space(JsonSpan span, size_t at)
{
    while (at < span.length && is_space(span.text[at]))
        at++;
    return at;
}

/* at is the position of the opening quote. Return: the position behind the closing quote, or 0. */
static size_t skip_string(JsonSpan span, size_t at)
{
    for (at++; at < span.length; at++) {
        if (span.text[at] == '\\')
            at++;
        else if (span.text[at] == '"')
            return at + 1;
    }
    return 0;
}

/* Return: the position behind the value that starts at `at`, or 0. */
static size_t skip_value(JsonSpan span, size_t at)
{
    size_t depth = 0, start = at;
    while (at < span.length) {
        char c = span.text[at];
        if (c == '"') {
            at = skip_string(span, at);
            if (at == 0)
                return 0;
        } else if (c == '{' || c == '[') {
            depth++;
            at++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                break;
            depth--;
            at++;
        } else if (depth == 0 && (c == ',' || is_space(c))) {
            break;
        } else {
            at++;
            if (depth == 0)
                continue; /* inside a number or literal */
        }
        if (depth == 0)
            break;
    }
    return depth == 0 && at > start ? at : 0;
}

bool json_next_member(JsonMembers *members, JsonSpan *ret_key, JsonSpan *ret_value)
{
    JsonSpan object = members->object;
    size_t at = skip_space(object, members->at);

    if (at < object.length && object.text[at] == (members->at == 0 ? '{' : ','))
        at = skip_space(object, at + 1);
    else
        return false;
    if (at >= object.length || object.text[at] != '"')
        return false;
    size_t key_end = skip_string(object, at);
    if (key_end == 0)
        return false;
    size_t value = skip_space(object, key_end);
    if (value >= object.length || object.text[value] != ':')
        return false;
    value = skip_space(object, value + 1);
    size_t value_end = skip_value(object, value);
    if (value_end == 0)
        return false;
    *ret_key = (JsonSpan){object.text + at + 1, key_end - at - 2};
    *ret_value = (JsonSpan){object.text + value, value_end - value};
    members->at = value_end;
    return true;
}

bool json_next_element(JsonMembers *members, JsonSpan *ret_value)
{
    JsonSpan array = members->object;
    size_t at = skip_space(array, members->at);

    if (at >= array.length || array.text[at] != (members->at == 0 ? '[' : ','))
        return false;
    at = skip_space(array, at + 1);
    size_t end = skip_value(array, at);
    if (end == 0)
        return false;
    *ret_value = (JsonSpan){array.text + at, end - at};
    members->at = end;
    return true;
}

/* The four hexadecimal digits of an escape, -1 when there are none. */
static int hex4(JsonSpan value, size_t at)
{
    int number = 0;
    if (at + 4 > value.length)
        return -1;
    for (size_t i = at; i < at + 4; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = memchr(digits, value.text[i] | 0x20, sizeof digits - 1);
        if (digit == NULL)
            return -1;
        number = number * 16 + (int)(digit - digits);
    }
    return number;
}

static size_t utf8_encode(unsigned code, char *ret_bytes)
{
    if (code < 0x80) {
        ret_bytes[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        ret_bytes[0] = (char)(0xc0 | code >> 6);
        ret_bytes[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        ret_bytes[0] = (char)(0xe0 | code >> 12);
        ret_bytes[1] = (char)(0x80 | (code >> 6 & 0x3f));
        ret_bytes[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    ret_bytes[0] = (char)(0xf0 | code >> 18);
    ret_bytes[1] = (char)(0x80 | (code >> 12 & 0x3f));
    ret_bytes[2] = (char)(0x80 | (code >> 6 & 0x3f));
    ret_bytes[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

/* Decodes \uXXXX, or the two of a surrogate pair; *at is behind the 'u'. Return: the number of bytes, 0 when
 * malformed. */
static size_t decode_unicode(JsonSpan value, size_t *at, char *ret_bytes)
{
    int code = hex4(value, *at);
    *at += 4;
    if (code >= 0xd800 && code < 0xdc00) {
        int low =
            *at + 6 <= value.length && memcmp(value.text + *at, "\\u", 2) == 0 ? hex4(value, *at + 2) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return 0;
        *at += 6;
        return utf8_encode(0x10000U + ((unsigned)(code - 0xd800) << 10) + (unsigned)(low - 0xdc00),
                           ret_bytes);
    }
    return code <= 0 || (code >= 0xdc00 && code < 0xe000) ? 0 : utf8_encode((unsigned)code, ret_bytes);
}

/* Decodes the escape behind a backslash; *at is behind the backslash. Return: as decode_unicode(). */
static size_t decode_escape(JsonSpan value, size_t *at, char *ret_bytes)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    if (*at >= value.length)
        return 0;
    char c = value.text[(*at)++];
    if (c == 'u')
        return decode_unicode(value, at, ret_bytes);
    const char *name = memchr(names, c, sizeof names - 1);
    if (name == NULL)
        return 0;
    ret_bytes[0] = values[name - names];
    return 1;
}

bool json_decode_string(JsonSpan value, char *ret_text, size_t room)
{
    size_t at = 1, length = 0;
    if (value.length < 2 || value.text[0] != '"' || value.text[value.length - 1] != '"')
        return false;
    value.length--;
    while (at < value.length) {
        char bytes[4] = {value.text[at++]};
        size_t n = bytes[0] == '\\' ? decode_escape(value, &at, bytes) : 1;
        if (n == 0 || bytes[0] == '\0' || length + n >= room)
            return false;
        memcpy(ret_text + length, bytes, n);
        length += n;
    }
    ret_text[length] = '\0';
    return true;
}

bool json_key_is(JsonSpan key, const char *name)
{
    return key.length == strlen(name) && memcmp(key.text, name, key.length) == 0;
}

bool json_find(JsonSpan object, const char *name, JsonSpan *ret_value)
{
    JsonMembers members = {.object = object};
    JsonSpan key, value;
    while (json_next_member(&members, &key, &value)) {
        if (json_key_is(key, name)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

void json_append(JsonText *text, const char *bytes, size_t length)
{
    if (!text->failed && text->room - text->length < length) {
        size_t room = (text->length + length) * 2;
        char *grown = realloc(text->text, room);
        text->failed = grown == NULL;
        if (grown != NULL) {
            text->text = grown;
            text->room = room;
        }
    }
    if (text->failed || length == 0)
        return;
    memcpy(text->text + text->length, bytes, length);
    text->length += length;
}

void json_append_string(JsonText *text, const char *string)
{
    json_append(text, "\"", 1);
    for (const char *c = string; *c != '\0'; c++) {
        char escape[8];
        if (*c == '"' || *c == '\\')
            snprintf(escape, sizeof escape, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            snprintf(escape, sizeof escape, "\\u%04x", (unsigned)(unsigned char)*c);
        else
            snprintf(escape, sizeof escape, "%c", *c);
        json_append(text, escape, strlen(escape));
    }
    json_append(text, "\"", 1);
}
