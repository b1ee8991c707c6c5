/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/proto_json.h"

#include <string.h>

#include "cri-server/cli/human.h"

char *proto_json_name(const char *field_name)
{
    GString *name = g_string_new(NULL);
    gboolean upper = FALSE;

    for (; *field_name != '\0'; field_name++) {
        if (*field_name != '_')
            g_string_append_c(name, upper ? g_ascii_toupper(*field_name) : *field_name);
        upper = *field_name == '_';
    }
    return g_string_free(name, FALSE);
}

static void write_enum(JsonWriter *json, const char *key, const ProtobufCEnumDescriptor *type, int value)
{
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(type, value);

    if (known != NULL)
        json_writer_string(json, key, known->name);
    else
        json_writer_int(json, key, value);
}

static void write_int64(JsonWriter *json, const char *key, const ProtobufCFieldDescriptor *field,
                        gint64 value)
{
    gboolean is_time = g_str_has_suffix(field->name, "_at");
    g_autofree char *text = is_time ? human_rfc3339(value) : g_strdup_printf("%" G_GINT64_FORMAT, value);

    json_writer_string(json, key, text);
}

static void write_uint64(JsonWriter *json, const char *key, guint64 value)
{
    g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, value);

    json_writer_string(json, key, text);
}

static void write_bytes(JsonWriter *json, const char *key, const ProtobufCBinaryData *bytes)
{
    g_autofree char *text = g_base64_encode(bytes->data, bytes->len);

    json_writer_string(json, key, text);
}

static gsize value_size(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return sizeof(gint64);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(gint32);
    }
}

static void write_value(JsonWriter *json, const char *key, const ProtobufCFieldDescriptor *field,
                        const void *value)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        json_writer_int(json, key, *(const gint32 *)value);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        json_writer_int(json, key, *(const guint32 *)value);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        write_int64(json, key, field, *(const gint64 *)value);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        write_uint64(json, key, *(const guint64 *)value);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        json_writer_double(json, key, (double)*(const float *)value);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        json_writer_double(json, key, *(const double *)value);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        json_writer_bool(json, key, *(const protobuf_c_boolean *)value);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        write_enum(json, key, field->descriptor, *(const int *)value);
        break;
    case PROTOBUF_C_TYPE_STRING:
        json_writer_string(json, key, *(char *const *)value);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        write_bytes(json, key, value);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        proto_json_message(json, key, *(const ProtobufCMessage *const *)value);
        break;
    }
}

/* protobuf-c gives a map as repeated entries of a nested type. */
static gboolean is_map(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *entry = field->descriptor;

    return field->type == PROTOBUF_C_TYPE_MESSAGE && g_str_has_suffix(entry->short_name, "Entry") &&
           entry->n_fields == 2 && strcmp(entry->fields[0].name, "key") == 0 &&
           entry->fields[0].type == PROTOBUF_C_TYPE_STRING;
}

static void write_map(JsonWriter *json, const char *key, const ProtobufCFieldDescriptor *field,
                      ProtobufCMessage *const *entries, gsize n_entries)
{
    gboolean documents = strcmp(field->name, "info") == 0;

    json_writer_open_object(json, key);
    for (gsize i = 0; i < n_entries; i++) {
        const ProtobufCFieldDescriptor *fields = entries[i]->descriptor->fields;
        const char *name = *(char *const *)((const char *)entries[i] + fields[0].offset);
        const void *value = (const char *)entries[i] + fields[1].offset;

        if (documents && fields[1].type == PROTOBUF_C_TYPE_STRING)
            json_writer_embed(json, name, *(char *const *)value);
        else
            write_value(json, name, &fields[1], value);
    }
    json_writer_close_object(json);
}

static void write_repeated(JsonWriter *json, const char *key, const ProtobufCFieldDescriptor *field,
                           const char *values, gsize n_values)
{
    if (is_map(field)) {
        write_map(json, key, field, (ProtobufCMessage *const *)(const void *)values, n_values);
        return;
    }
    json_writer_open_array(json, key);
    for (gsize i = 0; i < n_values; i++)
        write_value(json, NULL, field, values + i * value_size(field));
    json_writer_close_array(json);
}

static void write_field(JsonWriter *json, const ProtobufCMessage *message,
                        const ProtobufCFieldDescriptor *field)
{
    const char *member = (const char *)message + field->offset;
    g_autofree char *key = proto_json_name(field->name);

    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        write_repeated(json, key, field, *(const char *const *)(const void *)member,
                       *(const size_t *)(const void *)((const char *)message + field->quantifier_offset));
    else if (field->type != PROTOBUF_C_TYPE_MESSAGE || *(void *const *)(const void *)member != NULL)
        write_value(json, key, field, member);
}

void proto_json_message(JsonWriter *json, const char *key, const ProtobufCMessage *message)
{
    json_writer_open_object(json, key);
    for (unsigned i = 0; i < message->descriptor->n_fields; i++)
        write_field(json, message, &message->descriptor->fields[i]);
    json_writer_close_object(json);
}
