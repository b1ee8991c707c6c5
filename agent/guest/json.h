/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes as much JSON (RFC 8259) as copying an object member by member needs, as spans of text,
 * without a tree.
 *
 * It is for text that crun has parsed already. Malformed text ends the iteration; nothing reads past the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *text;
    size_t length;
} JsonSpan;

/* An iteration over the members of an object; at is 0 in the beginning. json_next_member() returns false at
 * the end. A key is a span without its quotes; escapes in it are not decoded. */
typedef struct {
    JsonSpan object;
    size_t at;
} JsonMembers;
bool json_next_member(JsonMembers *members, JsonSpan *ret_key, JsonSpan *ret_value);

/* The next element of an array; members.object is the array. */
bool json_next_element(JsonMembers *members, JsonSpan *ret_value);

bool json_key_is(JsonSpan key, const char *name);
/* Finds the value of a member of an object. */
bool json_find(JsonSpan object, const char *name, JsonSpan *ret_value);

/* Decodes a string value into ret_text as UTF-8. Return: false when the value is not a string, is malformed,
 * contains a NUL, or does not fit. */
bool json_decode_string(JsonSpan value, char *ret_text, size_t room);

/* A growing text; `failed` is set when memory runs out. The caller frees text with free(). */
typedef struct {
    char *text;
    size_t length, room;
    bool failed;
} JsonText;
void json_append(JsonText *text, const char *bytes, size_t length);
/* Appends a string with quotes, and with escapes where JSON requires them. */
void json_append_string(JsonText *text, const char *string);
