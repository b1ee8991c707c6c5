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
