/* SPDX-License-Identifier: Apache-2.0 */
/* Our compiled api.proto against the CRI's wire format: tests/data/cri-v1-wire.tsv, a row for each rpc,
 * message, field and enum value. What a stream is, protobuf-c does not record: rpc_table_test.c compares
 * that. */
#include "api.pb-c.h"
#include "tests/unit/harness.h"

#include <stdio.h>
#include <string.h>

#define PACKAGE "runtime.v1."

static const char *local_name(const char *name)
{
    return g_str_has_prefix(name, PACKAGE) ? name + strlen(PACKAGE) : name;
}

/* What protobuf-c makes of a map: a repeated message, nested in the field's, called …Entry. */
static gboolean is_map(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;

    return field->type == PROTOBUF_C_TYPE_MESSAGE && field->label == PROTOBUF_C_LABEL_REPEATED &&
           g_str_has_suffix(type->name, "Entry") && type->n_fields == 2 &&
           g_str_equal(type->fields[0].name, "key");
}

static char *type_name(const ProtobufCFieldDescriptor *field)
{
    static const char *const scalars[] = {
        [PROTOBUF_C_TYPE_INT32] = "int32",       [PROTOBUF_C_TYPE_SINT32] = "sint32",
        [PROTOBUF_C_TYPE_SFIXED32] = "sfixed32", [PROTOBUF_C_TYPE_INT64] = "int64",
        [PROTOBUF_C_TYPE_SINT64] = "sint64",     [PROTOBUF_C_TYPE_SFIXED64] = "sfixed64",
        [PROTOBUF_C_TYPE_UINT32] = "uint32",     [PROTOBUF_C_TYPE_FIXED32] = "fixed32",
        [PROTOBUF_C_TYPE_UINT64] = "uint64",     [PROTOBUF_C_TYPE_FIXED64] = "fixed64",
        [PROTOBUF_C_TYPE_FLOAT] = "float",       [PROTOBUF_C_TYPE_DOUBLE] = "double",
        [PROTOBUF_C_TYPE_BOOL] = "bool",         [PROTOBUF_C_TYPE_STRING] = "string",
        [PROTOBUF_C_TYPE_BYTES] = "bytes",
    };

    if (is_map(field)) {
        const ProtobufCMessageDescriptor *entry = field->descriptor;
        g_autofree char *key = type_name(&entry->fields[0]);
        g_autofree char *value = type_name(&entry->fields[1]);

        return g_strdup_printf("map<%s,%s>", key, value);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return g_strdup(local_name(((const ProtobufCMessageDescriptor *)field->descriptor)->name));
    if (field->type == PROTOBUF_C_TYPE_ENUM)
        return g_strdup(local_name(((const ProtobufCEnumDescriptor *)field->descriptor)->name));
    return g_strdup(scalars[field->type]);
}

static void add_row(GHashTable *rows, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void add_row(GHashTable *rows, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_hash_table_add(rows, g_strdup_vprintf(format, args));
    va_end(args);
}

static void describe_enum(GHashTable *rows, const ProtobufCEnumDescriptor *type)
{
    for (unsigned i = 0; i < type->n_values; i++)
        add_row(rows, "enum\t%s\t%d\t%s", local_name(type->name), type->values[i].value,
                type->values[i].name);
}

static void describe_message(GHashTable *rows, const ProtobufCMessageDescriptor *type)
{
    g_autofree char *row = g_strdup_printf("message\t%s", local_name(type->name));

    if (!g_hash_table_add(rows, g_steal_pointer(&row)))
        return;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        gboolean is_list = field->label == PROTOBUF_C_LABEL_REPEATED && !is_map(field);
        g_autofree char *name = type_name(field);

        add_row(rows, "field\t%s\t%u\t%s\t%s\t%s", local_name(type->name), field->id, field->name,
                is_list ? "repeated" : "singular", name);
        if (field->type == PROTOBUF_C_TYPE_ENUM)
            describe_enum(rows, field->descriptor);
        else if (field->type == PROTOBUF_C_TYPE_MESSAGE && !is_map(field))
            describe_message(rows, field->descriptor);
    }
}

static void describe_service(GHashTable *rows, const ProtobufCServiceDescriptor *service)
{
    for (unsigned i = 0; i < service->n_methods; i++) {
        const ProtobufCMethodDescriptor *method = &service->methods[i];

        add_row(rows, "rpc\t%s\t%s\t%s\t%s", service->short_name, method->name, method->input->name,
                method->output->name);
        describe_message(rows, method->input);
        describe_message(rows, method->output);
    }
}

static GHashTable *compiled_rows(void)
{
    GHashTable *rows = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    describe_service(rows, &runtime__v1__runtime_service__descriptor);
    describe_service(rows, &runtime__v1__image_service__descriptor);
    return rows;
}

static GHashTable *specified_rows(void)
{
    GHashTable *rows = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(TEST_DATA "/cri-v1-wire.tsv", &text, NULL, NULL));
    lines = g_strsplit(text, "\n", 0);
    for (char **line = lines; *line != NULL; line++)
        if (**line != '\0') {
            g_auto(GStrv) halves = g_strsplit(*line, "stream ", 2);
            char *row = g_strconcat(halves[0], halves[1], NULL);

            if (g_str_has_suffix(row, "\tdeprecated")) /* which is advice, not wire format */
                row[strlen(row) - strlen("\tdeprecated")] = '\0';
            g_hash_table_add(rows, row);
        }
    return rows;
}

static void check_subset(GHashTable *rows, GHashTable *of, const char *complaint)
{
    GHashTableIter iter;
    gpointer row;

    g_hash_table_iter_init(&iter, rows);
    while (g_hash_table_iter_next(&iter, &row, NULL)) {
        gboolean found = g_hash_table_contains(of, row);

        if (!found)
            printf("     %s: %s\n", complaint, (char *)row);
        CU_ASSERT_TRUE(found);
    }
}

static void has_the_whole_cri(void)
{
    g_autoptr(GHashTable) compiled = compiled_rows();
    g_autoptr(GHashTable) specified = specified_rows();

    CU_ASSERT_EQUAL(g_hash_table_size(specified), 95 + 478 + 175 + 43);
    check_subset(specified, compiled, "api.proto lacks");
}

static void has_nothing_else(void)
{
    g_autoptr(GHashTable) compiled = compiled_rows();
    g_autoptr(GHashTable) specified = specified_rows();

    check_subset(compiled, specified, "the CRI does not have");
}

int main(void)
{
    static const TestCase cases[] = {
        {"every rpc, message, field and enum value of the CRI is in api.proto", has_the_whole_cri},
        {"api.proto has nothing that the CRI does not have", has_nothing_else},
    };

    return test_main("cri-wire", cases, G_N_ELEMENTS(cases));
}
