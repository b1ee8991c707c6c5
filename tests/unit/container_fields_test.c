/* SPDX-License-Identifier: Apache-2.0 */
/* docs/container-fields.md against the CRI's own descriptors and the tests that it names. */
#include "api.pb-c.h"
#include "tests/unit/harness.h"

#include <string.h>

#define DOCUMENT TEST_DATA "/../../docs/container-fields.md"
#define UNIT_TESTS TEST_DATA "/../unit"
#define INTEGRATION_TESTS TEST_DATA "/../integration"

static const char *short_name(const ProtobufCMessageDescriptor *message)
{
    return strrchr(message->name, '.') + 1;
}

static gboolean is_map_entry(const ProtobufCMessageDescriptor *message)
{
    return g_str_has_suffix(message->name, "Entry");
}

/* Everything that a ContainerConfig is made of, but Windows. */
static void collect(const ProtobufCMessageDescriptor *message, GPtrArray *messages)
{
    if (g_ptr_array_find(messages, message, NULL) || is_map_entry(message) ||
        g_str_has_prefix(short_name(message), "Windows"))
        return;
    g_ptr_array_add(messages, (gpointer)message);
    for (unsigned i = 0; i < message->n_fields; i++)
        if (message->fields[i].type == PROTOBUF_C_TYPE_MESSAGE)
            collect(message->fields[i].descriptor, messages);
}

static char *document_read(void)
{
    g_autoptr(GError) error = NULL;
    char *text = NULL;

    TEST_OK(g_file_get_contents(DOCUMENT, &text, NULL, &error), error);
    return text;
}

static void every_field_is_in_the_table(void)
{
    g_autoptr(GPtrArray) messages = g_ptr_array_new();
    g_autofree char *text = document_read();

    collect(&runtime__v1__container_config__descriptor, messages);
    CU_ASSERT_TRUE(messages->len > 10);
    for (guint i = 0; i < messages->len; i++) {
        const ProtobufCMessageDescriptor *message = messages->pdata[i];

        for (unsigned j = 0; j < message->n_fields; j++) {
            g_autofree char *row =
                g_strdup_printf("\n| `%s.%s` | ", short_name(message), message->fields[j].name);
            const char *found = strstr(text, row);
            const char *what = found != NULL ? found + strlen(row) : "";

            if (!g_str_has_prefix(what, "works |") && !g_str_has_prefix(what, "refused |") &&
                !g_str_has_prefix(what, "ignored |")) {
                fprintf(stderr, "%s.%s is not in docs/container-fields.md\n", short_name(message),
                        message->fields[j].name);
                CU_FAIL("a field is missing");
            }
        }
    }
}

/* "oci_spec" is a unit test, "volumes.test.js" one on real machines. */
static gboolean source_has(const char *file, const char *sentence)
{
    gboolean unit = !g_str_has_suffix(file, ".js");
    g_autofree char *path = g_strdup_printf(unit ? UNIT_TESTS "/%s_test.c" : INTEGRATION_TESTS "/%s", file);
    g_autofree char *quoted = g_strdup_printf(unit ? "{\"%s\"" : "test('%s'", sentence);
    g_autofree char *text = NULL;
    g_auto(GStrv) parts = NULL;
    g_autofree char *plain = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL))
        return FALSE;
    parts = g_strsplit(text, "\\'", -1);
    plain = g_strjoinv("'", parts);
    return strstr(plain, quoted) != NULL;
}

/* The last column: "file: sentence". */
static void every_test_exists(void)
{
    g_autofree char *text = document_read();
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint checked = 0;

    for (char **line = lines; *line != NULL; line++) {
        g_auto(GStrv) cells = g_strsplit(*line, " | ", 4);
        g_autofree char *shown = NULL;
        char *colon;

        if (!g_str_has_prefix(*line, "| `"))
            continue;
        CU_ASSERT_EQUAL_FATAL(g_strv_length(cells), 4);
        shown = g_strndup(cells[3], strlen(cells[3]) - (g_str_has_suffix(cells[3], " |") ? 2 : 1));
        colon = strstr(shown, ": ");
        CU_ASSERT_PTR_NOT_NULL(colon);
        if (colon == NULL)
            continue;
        *colon = '\0';
        if (!source_has(shown, colon + 2)) {
            fprintf(stderr, "no test \"%s\" in %s\n", colon + 2, shown);
            CU_FAIL("a test is missing");
        }
        checked++;
    }
    CU_ASSERT_TRUE(checked > 50);
}

int main(void)
{
    static const TestCase cases[] = {
        {"every field of a container's configuration is in the table", every_field_is_in_the_table},
        {"every field names a test that exists", every_test_exists},
    };

    return test_main("container_fields", cases, G_N_ELEMENTS(cases));
}
