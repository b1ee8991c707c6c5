/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/rpc/message_text.h"

#include "api.pb-c.h"
#include "cri-server/rpc/status_text.h"
#include "tests/unit/harness.h"

#include <string.h>

static void names_the_bad_field(void)
{
    Runtime__V1__RunPodSandboxRequest request = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
    Runtime__V1__PodSandboxConfig config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    Runtime__V1__PodSandboxMetadata metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
    GError *error = NULL;

    request.config = &config;
    config.metadata = &metadata;
    metadata.name = (char *)"pod-\xc3\xa9";
    TEST_OK(message_text_check(&request.base, &error), error);
    metadata.name = (char *)"pod-\xff";
    TEST_FAILS(message_text_check(&request.base, &error), error, STATUS_INVALID_ARGUMENT,
               "config.metadata.name is not valid UTF-8");
    metadata.name = (char *)"a-long-name-\xc3\xa9-with-more-behind-it";
    TEST_OK(message_text_check(&request.base, &error), error);
    metadata.name = (char *)"a-long-name-with-half-a-letter-\xc3";
    TEST_FAILS(message_text_check(&request.base, &error), error, STATUS_INVALID_ARGUMENT,
               "config.metadata.name is not valid UTF-8");
}

static void looks_into_lists_and_maps(void)
{
    Runtime__V1__ExecSyncRequest exec = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    char *words[] = {(char *)"ls", (char *)"\x80"};
    Runtime__V1__StatusResponse status = RUNTIME__V1__STATUS_RESPONSE__INIT;
    Runtime__V1__StatusResponse__InfoEntry entry = RUNTIME__V1__STATUS_RESPONSE__INFO_ENTRY__INIT;
    Runtime__V1__StatusResponse__InfoEntry *entries[] = {&entry};
    GError *error = NULL;

    exec.cmd = words;
    exec.n_cmd = 2;
    TEST_FAILS(message_text_check(&exec.base, &error), error, STATUS_INVALID_ARGUMENT, "cmd");
    entry.value = (char *)"\xed\xa0\x80"; /* half of a surrogate pair */
    status.info = entries;
    status.n_info = 1;
    TEST_FAILS(message_text_check(&status.base, &error), error, STATUS_INVALID_ARGUMENT, "info.value");
}

static void repairs_what_goes_out(void)
{
    Runtime__V1__VersionResponse response = RUNTIME__V1__VERSION_RESPONSE__INIT;
    g_autoptr(Arena) arena = arena_new();
    GError *error = NULL;

    response.version = (char *)"a\xff"
                               "b";
    response.runtime_name = (char *)"good";
    message_text_repair(&response.base, arena);
    TEST_OK(message_text_check(&response.base, &error), error);
    CU_ASSERT_STRING_EQUAL(response.version, "a\xef\xbf\xbd"
                                             "b");
    CU_ASSERT_STRING_EQUAL(response.runtime_name, "good");
}

static void leaves_bytes_alone(void)
{
    Runtime__V1__ExecSyncResponse response = RUNTIME__V1__EXEC_SYNC_RESPONSE__INIT;
    guint8 output[] = {0xff, 0x00, 0xfe};
    GError *error = NULL;

    response.stdout.data = output;
    response.stdout.len = sizeof output;
    TEST_OK(message_text_check(&response.base, &error), error);
}

static void keeps_both_ends_of_a_long_message(void)
{
    g_autofree char *middle = g_strnfill(20000, 'x');
    g_autofree char *message = g_strconcat("pod p did not boot: ", middle, "Kernel panic", NULL);
    g_autofree char *text = status_text(message);

    CU_ASSERT_TRUE(strlen(text) < 6100);
    CU_ASSERT_TRUE(g_str_has_prefix(text, "pod p did not boot"));
    CU_ASSERT_TRUE(g_str_has_suffix(text, "Kernel panic"));
}

static void ends_with_a_word(void)
{
    g_autofree char *text = status_text("it said: \n");

    CU_ASSERT_STRING_EQUAL(text, "it said:");
}

static void counts_what_encoding_adds(void)
{
    g_autofree char *lines = g_strnfill(4000, '\n');
    g_autofree char *text = status_text(lines);

    CU_ASSERT_TRUE(strlen(text) * 3 < 6100);
}

static void makes_messages_utf8(void)
{
    g_autofree char *text = status_text("no file \xff");

    CU_ASSERT_STRING_EQUAL(text, "no file \xef\xbf\xbd");
}

int main(void)
{
    static const TestCase cases[] = {
        {"text that is not UTF-8 is refused, and the message has the path of the field", names_the_bad_field},
        {"lists and maps are checked as well", looks_into_lists_and_maps},
        {"text that goes out is made UTF-8", repairs_what_goes_out},
        {"fields of type bytes are not checked", leaves_bytes_alone},
        {"a status message that is too long keeps its beginning and its end",
         keeps_both_ends_of_a_long_message},
        {"white space at the end of a message is cut", ends_with_a_word},
        {"a status message is measured as it is encoded", counts_what_encoding_adds},
        {"a status message is made UTF-8", makes_messages_utf8},
    };

    return test_main("message-text", cases, G_N_ELEMENTS(cases));
}
