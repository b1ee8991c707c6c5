/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/agent_bounds.h"

#include <math.h>

#include "agent.pb-c.h"
#include "common/error.h"
#include "tests/unit/harness.h"

typedef Crivirt__Agent__V1__FromGuest FromGuest;
typedef Crivirt__Agent__V1__Response Response;

/* ---- the table ---- */

static gboolean needs_row(const ProtobufCFieldDescriptor *field)
{
    return field->label == PROTOBUF_C_LABEL_REPEATED || field->type == PROTOBUF_C_TYPE_STRING ||
           field->type == PROTOBUF_C_TYPE_BYTES;
}

/* Counts the fields of the message and of the messages in it that have a row, and complains about those that
 * lack one. seen: the messages that were visited. */
static guint count_rows(const ProtobufCMessageDescriptor *type, GHashTable *seen)
{
    guint rows = 0;

    if (!g_hash_table_add(seen, (gpointer)type))
        return 0;
    for (guint i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];

        if (needs_row(field) && !agent_bounds_has_row(type, field->offset)) {
            g_printerr("agent_bounds.def has no row for %s.%s\n", type->short_name, field->name);
            CU_FAIL("a field has no bound");
        }
        if (agent_bounds_has_row(type, field->offset))
            rows++;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            rows += count_rows(field->descriptor, seen);
    }
    return rows;
}

static void each_field_has_a_bound(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_direct_hash, g_direct_equal);

    CU_ASSERT_EQUAL(count_rows(&crivirt__agent__v1__from_guest__descriptor, seen), agent_bounds_n_rows());
}

/* ---- messages ---- */

static void texts_are_bounded(void)
{
    Crivirt__Agent__V1__Failure failure = CRIVIRT__AGENT__V1__FAILURE__INIT;
    Response response = CRIVIRT__AGENT__V1__RESPONSE__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    g_autofree char *fits = g_strnfill(4096, 'x');
    g_autofree char *long_text = g_strnfill(4097, 'x');
    g_autoptr(GError) error = NULL;

    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_RESPONSE;
    message.response = &response;
    response.failure = &failure;
    failure.message = fits;
    TEST_OK(agent_bounds_check(&message.base, &error), error);
    failure.message = long_text;
    TEST_FAILS(agent_bounds_check(&message.base, &error), error, STATUS_INTERNAL,
               "Failure.message has 4097 bytes; at most 4096");
}

static void bytes_are_bounded(void)
{
    Crivirt__Agent__V1__Output output = CRIVIRT__AGENT__V1__OUTPUT__INIT;
    FromGuest message = CRIVIRT__AGENT__V1__FROM_GUEST__INIT;
    g_autoptr(GError) error = NULL;

    message.body_case = CRIVIRT__AGENT__V1__FROM_GUEST__BODY_OUTPUT;
    message.output = &output;
    output.data.len = 1 << 20; /* only the length is read */
    TEST_FAILS(agent_bounds_check(&message.base, &error), error, STATUS_INTERNAL, "Output.data");
}

static void lists_are_bounded(void)
{
    Crivirt__Agent__V1__CreateContainerResponse create = CRIVIRT__AGENT__V1__CREATE_CONTAINER_RESPONSE__INIT;
    g_autofree guint32 *groups = g_new0(guint32, 4097);
    g_autoptr(GError) error = NULL;

    create.groups = groups;
    create.n_groups = 4096;
    TEST_OK(agent_bounds_check(&create.base, &error), error);
    create.n_groups = 4097;
    TEST_FAILS(agent_bounds_check(&create.base, &error), error, STATUS_INTERNAL,
               "CreateContainerResponse.groups has 4097 items");
}

static void items_of_lists_are_checked(void)
{
    Crivirt__Agent__V1__ContainerReport reports[2] = {CRIVIRT__AGENT__V1__CONTAINER_REPORT__INIT,
                                                      CRIVIRT__AGENT__V1__CONTAINER_REPORT__INIT};
    Crivirt__Agent__V1__ContainerReport *list[] = {&reports[0], &reports[1]};
    Crivirt__Agent__V1__HelloResponse hello = CRIVIRT__AGENT__V1__HELLO_RESPONSE__INIT;
    g_autofree char *long_id = g_strnfill(129, 'x');
    g_autoptr(GError) error = NULL;

    hello.containers = list;
    hello.n_containers = 2;
    TEST_OK(agent_bounds_check(&hello.base, &error), error);
    reports[1].id = long_id;
    TEST_FAILS(agent_bounds_check(&hello.base, &error), error, STATUS_INTERNAL, "ContainerReport.id");
}

static void numbers_are_finite(void)
{
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    Crivirt__Agent__V1__PressureLine line = CRIVIRT__AGENT__V1__PRESSURE_LINE__INIT;
    Crivirt__Agent__V1__Pressure pressure = CRIVIRT__AGENT__V1__PRESSURE__INIT;
    g_autoptr(GError) error = NULL;

    pressure.full = &line;
    TEST_OK(agent_bounds_check(&pressure.base, &error), error);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        line.avg60 = bad[i];
        TEST_FAILS(agent_bounds_check(&pressure.base, &error), error, STATUS_INTERNAL, "PressureLine.avg60");
    }
}

/* Unpacks a message with unknown fields as a guest would send it. */
static gboolean check_unknown(guint count, gsize length, GError **error)
{
    g_autoptr(GByteArray) packed = g_byte_array_new();
    static const guint8 tag[] = {0xfa, 0x3f}; /* field 1023, bytes */
    g_autofree guint8 *zeros = g_malloc0(length + 1);
    const guint8 size[] = {(guint8)(0x80 | (length & 0x7f)), (guint8)(length >> 7)};
    Crivirt__Agent__V1__PingResponse *ping;
    gboolean good;

    for (guint i = 0; i < count; i++) {
        g_byte_array_append(packed, tag, sizeof tag);
        g_byte_array_append(packed, size, sizeof size);
        g_byte_array_append(packed, zeros, (guint)length);
    }
    ping = crivirt__agent__v1__ping_response__unpack(NULL, packed->len, packed->data);
    CU_ASSERT_PTR_NOT_NULL_FATAL(ping);
    good = agent_bounds_check(&ping->base, error);
    crivirt__agent__v1__ping_response__free_unpacked(ping, NULL);
    return good;
}

static void unknown_fields_are_bounded(void)
{
    g_autoptr(GError) error = NULL;

    TEST_OK(check_unknown(AGENT_UNKNOWN_FIELDS_MAX, 8, &error), error);
    TEST_FAILS(check_unknown(AGENT_UNKNOWN_FIELDS_MAX + 1, 8, &error), error, STATUS_INTERNAL,
               "PingResponse has 65 unknown fields");
    TEST_FAILS(check_unknown(2, AGENT_UNKNOWN_BYTES_MAX - 16, &error), error, STATUS_INTERNAL,
               "PingResponse has 2 unknown fields");
}

int main(void)
{
    static const TestCase cases[] = {
        {"each text, byte string and list that a guest can send has a bound", each_field_has_a_bound},
        {"a text that is too long is refused by the field's name", texts_are_bounded},
        {"a byte string that is too long is refused by the field's name", bytes_are_bounded},
        {"a list that is too long is refused by the field's name", lists_are_bounded},
        {"items of lists are checked", items_of_lists_are_checked},
        {"numbers that are not finite are refused", numbers_are_finite},
        {"fields that the daemon does not have are bounded", unknown_fields_are_bounded},
    };

    return test_main("agent_bounds", cases, G_N_ELEMENTS(cases));
}
