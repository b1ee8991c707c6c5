/* As much of JSON (RFC 8259) as it takes to copy an object member by member: spans of text, no tree.
 *
 * For text that crun has parsed already; malformed text ends the iteration, never reads past its end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    const char *text;
    size_t length;
} JsonSpan;

/* Calls next() until it is false. at: 0 in the beginning. Keys are spans without their quotes, escapes as
 * they stand. */
typedef struct {
    JsonSpan object;
    size_t at;
} JsonMembers;
bool json_next_member(JsonMembers *members, JsonSpan *ret_key, JsonSpan *ret_value);

bool json_key_is(JsonSpan key, const char *name);
/* The value of a member of an object. */
bool json_find(JsonSpan object, const char *name, JsonSpan *ret_value);

/* A growing text; `failed` once memory ran out. Free with free(text). */
typedef struct {
    char *text;
    size_t length, room;
    bool failed;
} JsonText;
void json_append(JsonText *text, const char *bytes, size_t length);
/* With quotes, and escapes where JSON wants them. */
void json_append_string(JsonText *text, const char *string);
