/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pods/cri_compare.h"

#include <string.h>

/* One field, or one element of it, of both messages. */
typedef struct {
    const ProtobufCFieldDescriptor *field;
    gconstpointer a;
    gconstpointer b;
} Pair;

typedef struct {
    const char *const *ignored;
} Comparison;

static char *messages_differ(const Comparison *comparison, const ProtobufCMessage *a,
                             const ProtobufCMessage *b, const char *path, const char *plain);

/* Return: the size of a value that is no text, bytes or message. */
static gsize scalar_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    default:
        return sizeof(gint32); /* protobuf_c_boolean is an int as well */
    }
}

static gsize value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(gpointer);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return scalar_size(type);
    }
}

static gboolean texts_differ(gconstpointer a, gconstpointer b)
{
    const char *first = *(char *const *)a;
    const char *second = *(char *const *)b;

    return strcmp(first != NULL ? first : "", second != NULL ? second : "") != 0;
}

static gboolean bytes_differ(const ProtobufCBinaryData *a, const ProtobufCBinaryData *b)
{
    return a->len != b->len || (a->len > 0 && memcmp(a->data, b->data, a->len) != 0);
}

static char *values_differ(const Comparison *comparison, const Pair *pair, const char *path,
                           const char *plain)
{
    gboolean differ;

    switch (pair->field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return messages_differ(comparison, *(ProtobufCMessage *const *)pair->a,
                               *(ProtobufCMessage *const *)pair->b, path, plain);
    case PROTOBUF_C_TYPE_STRING:
        differ = texts_differ(pair->a, pair->b);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        differ = bytes_differ(pair->a, pair->b);
        break;
    default:
        differ = memcmp(pair->a, pair->b, scalar_size(pair->field->type)) != 0;
        break;
    }
    return differ ? g_strdup(path) : NULL;
}

static size_t list_length(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return *(const size_t *)((const guint8 *)message + field->quantifier_offset);
}

static char *lists_differ(const Comparison *comparison, const ProtobufCMessage *a, const ProtobufCMessage *b,
                          const Pair *pair, const char *path, const char *plain)
{
    const size_t length = list_length(a, pair->field);
    const gsize size = value_size(pair->field->type);
    const guint8 *first = *(guint8 *const *)pair->a;
    const guint8 *second = *(guint8 *const *)pair->b;

    if (length != list_length(b, pair->field))
        return g_strdup(path);
    for (size_t i = 0; i < length; i++) {
        const Pair element = {pair->field, first + i * size, second + i * size};
        g_autofree char *element_path = g_strdup_printf("%s[%zu]", path, i);
        char *difference = values_differ(comparison, &element, element_path, plain);

        if (difference != NULL)
            return difference;
    }
    return NULL;
}

static char *fields_differ(const Comparison *comparison, const ProtobufCMessage *a, const ProtobufCMessage *b,
                           const ProtobufCFieldDescriptor *field, const char *path, const char *plain)
{
    const Pair pair = {field, (const guint8 *)a + field->offset, (const guint8 *)b + field->offset};
    g_autofree char *field_path = g_strdup_printf("%s.%s", path, field->name);
    g_autofree char *field_plain = g_strdup_printf("%s.%s", plain, field->name);

    if (g_strv_contains(comparison->ignored, field_plain))
        return NULL;
    return field->label == PROTOBUF_C_LABEL_REPEATED
               ? lists_differ(comparison, a, b, &pair, field_path, field_plain)
               : values_differ(comparison, &pair, field_path, field_plain);
}

/* plain: the path without indexes. The CRI has no oneof, so that every field has a place of its own. */
static char *messages_differ(const Comparison *comparison, const ProtobufCMessage *a,
                             const ProtobufCMessage *b, const char *path, const char *plain)
{
    const ProtobufCMessageDescriptor *type;
    g_autofree ProtobufCMessage *empty = NULL;

    if (a == NULL && b == NULL)
        return NULL;
    type = a != NULL ? a->descriptor : b->descriptor;
    empty = g_malloc0(type->sizeof_message);
    protobuf_c_message_init(type, empty);
    for (unsigned i = 0; i < type->n_fields; i++) {
        char *difference = fields_differ(comparison, a != NULL ? a : empty, b != NULL ? b : empty,
                                         &type->fields[i], path, plain);

        if (difference != NULL)
            return difference;
    }
    return NULL;
}

char *cri_difference(const ProtobufCMessage *a, const ProtobufCMessage *b, const char *name,
                     const char *const *ignored)
{
    const Comparison comparison = {ignored};

    return messages_differ(&comparison, a, b, name, name);
}
