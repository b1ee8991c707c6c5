/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/agent_bounds.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "agent.pb-c.h"
#include "agent/wire/wire.h"
#include "common/error.h"

typedef struct {
    const ProtobufCMessageDescriptor *type;
    guint offset; /* of the field */
    guint items;
    gsize bytes;
} Bound;

static const Bound bounds[] = {
#define AGENT_BOUND(message, Message, field, items, bytes)                                                   \
    {&crivirt__agent__v1__##message##__descriptor, offsetof(Crivirt__Agent__V1__##Message, field), items,    \
     bytes},
#include "sandbox/agent/agent_bounds.def"
#undef AGENT_BOUND
};

static const Bound none = {NULL, 0, 0, 0};

static const Bound *bound_of(const ProtobufCMessageDescriptor *type, guint offset)
{
    for (gsize i = 0; i < G_N_ELEMENTS(bounds); i++)
        if (bounds[i].type == type && bounds[i].offset == offset)
            return &bounds[i];
    return &none;
}

gboolean agent_bounds_has_row(const ProtobufCMessageDescriptor *type, guint offset)
{
    return bound_of(type, offset) != &none;
}

guint agent_bounds_n_rows(void)
{
    return G_N_ELEMENTS(bounds);
}

/* ---- one value ---- */

static gboolean check_bytes(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                            gsize length, GError **error)
{
    const Bound *bound = bound_of(type, field->offset);

    if (length <= bound->bytes)
        return TRUE;
    return fail(error, STATUS_INTERNAL, "%s.%s has %zu bytes; at most %zu are accepted", type->short_name,
                field->name, length, bound->bytes);
}

/* value points to the field, or to an item of a list. */
static gboolean check_value(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                            const void *value, GError **error)
{
    const char *text;
    const ProtobufCMessage *message;

    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        text = *(const char *const *)value;
        return text == NULL || check_bytes(type, field, strlen(text), error);
    case PROTOBUF_C_TYPE_BYTES:
        return check_bytes(type, field, ((const ProtobufCBinaryData *)value)->len, error);
    case PROTOBUF_C_TYPE_MESSAGE:
        message = *(const ProtobufCMessage *const *)value;
        return message == NULL || agent_bounds_check(message, error);
    case PROTOBUF_C_TYPE_DOUBLE:
        return isfinite(*(const double *)value) ||
               fail(error, STATUS_INTERNAL, "%s.%s is no finite number", type->short_name, field->name);
    default:
        return TRUE; /* numbers of a fixed size */
    }
}

/* ---- fields ---- */

static gsize item_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    default:
        return 0; /* its items need no look */
    }
}

static gboolean check_list(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                           const guint8 *structure, GError **error)
{
    gsize count = *(const size_t *)(const void *)(structure + field->quantifier_offset);
    const guint8 *items = *(const guint8 *const *)(const void *)(structure + field->offset);
    const Bound *bound = bound_of(type, field->offset);
    gsize size = item_size(field->type);

    if (count > bound->items)
        return fail(error, STATUS_INTERNAL, "%s.%s has %zu items; at most %u are accepted", type->short_name,
                    field->name, count, bound->items);
    for (gsize i = 0; size > 0 && i < count; i++)
        if (!check_value(type, field, items + i * size, error))
            return FALSE;
    return TRUE;
}

static gboolean check_field(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                            const guint8 *structure, GError **error)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return check_list(type, field, structure, error);
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
        *(const guint32 *)(const void *)(structure + field->quantifier_offset) != field->id)
        return TRUE; /* another field of the oneof is set */
    return check_value(type, field, structure + field->offset, error);
}

static gboolean check_unknown(const ProtobufCMessage *message, GError **error)
{
    gsize bytes = 0;

    for (guint i = 0; i < message->n_unknown_fields; i++)
        bytes += message->unknown_fields[i].len;
    return (message->n_unknown_fields <= AGENT_UNKNOWN_FIELDS_MAX && bytes <= AGENT_UNKNOWN_BYTES_MAX) ||
           fail(error, STATUS_INTERNAL,
                "%s has %u unknown fields with %zu bytes; at most %d and %d are accepted",
                message->descriptor->short_name, message->n_unknown_fields, bytes, AGENT_UNKNOWN_FIELDS_MAX,
                AGENT_UNKNOWN_BYTES_MAX);
}

gboolean agent_bounds_check(const ProtobufCMessage *message, GError **error)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;

    for (guint i = 0; i < type->n_fields; i++)
        if (!check_field(type, &type->fields[i], (const guint8 *)message, error))
            return FALSE;
    return check_unknown(message, error);
}
