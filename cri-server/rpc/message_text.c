/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc/message_text.h"

#include "common/error.h"

#include <string.h>

enum { GOOD_STRINGS = 256, TYPES = 64 };

typedef struct TextWalk TextWalk;
struct TextWalk {
    gboolean (*visit)(TextWalk *walk, char **string); /* Return: FALSE to stop the walk */
    Arena *arena;
    const char *good[GOOD_STRINGS]; /* valid strings: a list's messages share many */
    struct {
        const ProtobufCMessageDescriptor *type;
        guint64 fields;                       /* a bit for each field with strings in it */
    } types[TYPES];                           /* of the messages seen: most of statistics have numbers only */
    const ProtobufCFieldDescriptor *path[16]; /* the fields that lead to the current one */
    guint depth;
};

/* Return: which fields of such messages are strings, or have strings in them. The CRI has no message type
 * that contains itself. */
static guint64 text_fields(TextWalk *walk, const ProtobufCMessageDescriptor *type)
{
    const gsize slot = ((guintptr)type >> 5) % TYPES;
    guint64 fields = 0;

    if (walk->types[slot].type == type)
        return walk->types[slot].fields;
    g_assert(type->n_fields <= 64);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];

        if (field->type == PROTOBUF_C_TYPE_STRING ||
            (field->type == PROTOBUF_C_TYPE_MESSAGE && text_fields(walk, field->descriptor) != 0))
            fields |= G_GUINT64_CONSTANT(1) << i;
    }
    walk->types[slot].type = type;
    walk->types[slot].fields = fields;
    return fields;
}

static gboolean walk_message(TextWalk *walk, ProtobufCMessage *message);

/* Finds the values of a field. Return: their number; 0 when the field is absent. */
static gsize field_values(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          void ***ret_values)
{
    char *base = (char *)message;

    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        *ret_values = *(void ***)(void *)(base + field->offset);
        return *(size_t *)(void *)(base + field->quantifier_offset);
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
        *(guint32 *)(void *)(base + field->quantifier_offset) != field->id)
        return 0;
    *ret_values = (void **)(void *)(base + field->offset);
    return **ret_values == NULL ? 0 : 1;
}

static gboolean walk_field(TextWalk *walk, ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    void **values = NULL;
    gsize n_values = field_values(message, field, &values);

    for (gsize i = 0; i < n_values; i++)
        if (field->type == PROTOBUF_C_TYPE_STRING ? !walk->visit(walk, (char **)(void *)&values[i])
                                                  : !walk_message(walk, values[i]))
            return FALSE;
    return TRUE;
}

static gboolean walk_message(TextWalk *walk, ProtobufCMessage *message)
{
    g_assert(walk->depth < G_N_ELEMENTS(walk->path)); /* the CRI has no message type that contains itself */
    for (guint64 left = text_fields(walk, message->descriptor); left != 0; left &= left - 1) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[__builtin_ctzll(left)];

        walk->path[walk->depth++] = field;
        if (!walk_field(walk, message, field))
            return FALSE;
        walk->depth--;
    }
    return TRUE;
}

/* Passes over ASCII, which nearly all texts consist of, eight bytes at a time. */
static gboolean text_is_valid(const char *text)
{
    const gsize length = strlen(text);
    gsize ascii = 0;
    guint64 word;

    for (; length - ascii >= sizeof(word); ascii += sizeof(word)) {
        memcpy(&word, text + ascii, sizeof(word));
        if ((word & G_GUINT64_CONSTANT(0x8080808080808080)) != 0)
            break;
    }
    return g_utf8_validate_len(text + ascii, length - ascii, NULL);
}

static gboolean visit_check(TextWalk *walk, char **string)
{
    (void)walk;
    return text_is_valid(*string);
}

gboolean message_text_check(const ProtobufCMessage *message, GError **error)
{
    TextWalk walk = {.visit = visit_check};
    g_autoptr(GString) path = NULL;

    if (walk_message(&walk, (ProtobufCMessage *)message))
        return TRUE;
    path = g_string_new(NULL);
    for (guint i = 0; i < walk.depth; i++)
        g_string_append_printf(path, "%s%s", i > 0 ? "." : "", walk.path[i]->name);
    return fail(error, STATUS_INVALID_ARGUMENT, "%s is not valid UTF-8", path->str);
}

static gboolean visit_repair(TextWalk *walk, char **string)
{
    const char **good = &walk->good[((guintptr)*string >> 3) % GOOD_STRINGS];

    if (*good == *string)
        return TRUE;
    if (!text_is_valid(*string))
        *string = arena_strdup_utf8(walk->arena, *string);
    else
        *good = *string;
    return TRUE;
}

void message_text_repair(ProtobufCMessage *message, Arena *arena)
{
    TextWalk walk = {.visit = visit_repair, .arena = arena};

    walk_message(&walk, message);
}
