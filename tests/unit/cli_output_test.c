/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "api.pb-c.h"
#include "common/json_writer.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/human.h"
#include "cri-server/cli/proto_json.h"
#include "cri-server/cli/pull_view.h"
#include "cri-server/cli/text_table.h"
#include "tests/unit/harness.h"

static void expect_text(char *got, const char *wanted)
{
    if (strcmp(got, wanted) != 0)
        g_printerr("got:\n%s\nwanted:\n%s\n", got, wanted);
    CU_ASSERT_STRING_EQUAL(got, wanted);
    g_free(got);
}

static void columns_are_padded_by_their_width_on_the_screen(void)
{
    g_autoptr(TextTable) table = text_table_new(TEXT_ROW("ID", "NAME", "X"));

    text_table_add(table, TEXT_ROW("1234", "ä", ""));
    text_table_add(table, TEXT_ROW("", "long name", "y"));
    expect_text(text_table_format(table), "ID     NAME        X\n"
                                          "1234   ä\n"
                                          "       long name   y\n");
}

static void cells_cannot_steer_the_terminal(void)
{
    g_autoptr(TextTable) table = text_table_new(TEXT_ROW("A"));

    text_table_add(table, TEXT_ROW("\033[2Jx\ny\xff"));
    expect_text(text_table_format(table), "A\n?[2Jx?y\xef\xbf\xbd\n");
}

static void durations_are_written_as_docker_writes_them(void)
{
    const gint64 second = G_GINT64_CONSTANT(1000000000);
    static const struct {
        gint64 seconds;
        const char *text;
    } cases[] = {
        {-5, "Less than a second"}, {0, "Less than a second"}, {1, "1 second"},       {59, "59 seconds"},
        {60, "About a minute"},     {120, "2 minutes"},        {3599, "59 minutes"},  {3600, "About an hour"},
        {7200, "2 hours"},          {86400, "24 hours"},       {3 * 86400, "3 days"}, {21 * 86400, "3 weeks"},
        {90 * 86400, "3 months"},   {800 * 86400, "2 years"},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        expect_text(human_duration(cases[i].seconds * second), cases[i].text);
    expect_text(human_ago(10 * second, 70 * second), "About a minute ago");
    expect_text(human_ago(0, 70 * second), "");
}

static void sizes_have_three_significant_digits(void)
{
    expect_text(human_size(0), "0B");
    expect_text(human_size(999), "999B");
    expect_text(human_size(1000), "1.00kB");
    expect_text(human_size(4261550), "4.26MB");
    expect_text(human_size(99960000), "100MB");
    expect_text(human_size(999999), "1.00MB");
    expect_text(human_size(G_MAXUINT64), "18.4EB");
}

static void times_and_ids(void)
{
    expect_text(human_rfc3339(G_GINT64_CONSTANT(1700000000000000042)), "2023-11-14T22:13:20.000000042Z");
    expect_text(human_rfc3339(0), "");
    expect_text(human_short_id("sha256:0123456789abcdef"), "0123456789ab");
    expect_text(human_short_id("abc"), "abc");
}

static void json_is_json(void)
{
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    json_writer_open_object(json, NULL);
    json_writer_string(json, "text", "a\"\n\xff");
    json_writer_uint(json, "big", G_MAXUINT64);
    json_writer_double(json, "none", 0.0 / (0.0 * 1));
    json_writer_embed(json, "document", "{\"a\": [1, null, 1.50]}");
    json_writer_embed(json, "broken", "{\"a\": ");
    json_writer_embed(json, "plain", "hello");
    json_writer_strings(json, "list", (const char *const[]){"x", NULL}, -1);
    json_writer_close_object(json);
    expect_text(json_writer_copy(json),
                "{\n"
                "  \"text\": \"a\\\"\\n\xef\xbf\xbd\",\n"
                "  \"big\": 18446744073709551615,\n"
                "  \"none\": \"NaN\",\n"
                "  \"document\": {\n    \"a\": [\n      1,\n      null,\n      1.50\n    ]\n  },\n"
                "  \"broken\": \"{\\\"a\\\": \",\n"
                "  \"plain\": \"hello\",\n"
                "  \"list\": [\n    \"x\"\n  ]\n"
                "}\n");
}

static void messages_are_written_in_the_proto3_json_mapping(void)
{
    Runtime__V1__PodSandboxStatusResponse response = RUNTIME__V1__POD_SANDBOX_STATUS_RESPONSE__INIT;
    Runtime__V1__PodSandboxStatus status = RUNTIME__V1__POD_SANDBOX_STATUS__INIT;
    Runtime__V1__PodSandboxStatus__LabelsEntry label = RUNTIME__V1__POD_SANDBOX_STATUS__LABELS_ENTRY__INIT;
    Runtime__V1__PodSandboxStatus__LabelsEntry *labels[] = {&label};
    Runtime__V1__PodSandboxStatusResponse__InfoEntry info =
        RUNTIME__V1__POD_SANDBOX_STATUS_RESPONSE__INFO_ENTRY__INIT;
    Runtime__V1__PodSandboxStatusResponse__InfoEntry *infos[] = {&info};
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    label.key = (char *)"app";
    label.value = (char *)"web";
    info.key = (char *)"vm";
    info.value = (char *)"{\"pid\":7}";
    status.id = (char *)"p1";
    status.state = RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY;
    status.created_at = G_GINT64_CONSTANT(1700000000000000042);
    status.labels = labels;
    status.n_labels = 1;
    response.status = &status;
    response.info = infos;
    response.n_info = 1;
    response.timestamp = 5;
    proto_json_message(json, NULL, &response.base);
    expect_text(json_writer_copy(json), "{\n"
                                        "  \"status\": {\n"
                                        "    \"id\": \"p1\",\n"
                                        "    \"state\": \"SANDBOX_NOTREADY\",\n"
                                        "    \"createdAt\": \"2023-11-14T22:13:20.000000042Z\",\n"
                                        "    \"labels\": {\n      \"app\": \"web\"\n    },\n"
                                        "    \"annotations\": {\n\n    },\n"
                                        "    \"runtimeHandler\": \"\"\n"
                                        "  },\n"
                                        "  \"info\": {\n    \"vm\": {\n      \"pid\": 7\n    }\n  },\n"
                                        "  \"containersStatuses\": [\n\n  ],\n"
                                        "  \"timestamp\": \"5\"\n"
                                        "}\n");
    expect_text(proto_json_name("CDI_devices"), "CDIDevices");
    expect_text(proto_json_name("uidMappings"), "uidMappings");
}

static void scalars_of_all_kinds(void)
{
    Runtime__V1__LinuxContainerUser user = RUNTIME__V1__LINUX_CONTAINER_USER__INIT;
    Runtime__V1__KeyValue pair = RUNTIME__V1__KEY_VALUE__INIT;
    int64_t groups[] = {1, -2};
    g_autoptr(JsonWriter) json = json_writer_new_indented();

    user.supplemental_groups = groups;
    user.n_supplemental_groups = 2;
    pair.key = (char *)"K";
    pair.value.data = (uint8_t *)(uintptr_t) "\x00\xff";
    pair.value.len = 2;
    json_writer_open_array(json, NULL);
    proto_json_message(json, NULL, &user.base);
    proto_json_message(json, NULL, &pair.base);
    json_writer_close_array(json);
    expect_text(json_writer_copy(json),
                "[\n"
                "  {\n    \"uid\": \"0\",\n    \"gid\": \"0\",\n"
                "    \"supplementalGroups\": [\n      \"1\",\n      \"-2\"\n    ]\n  },\n"
                "  {\n    \"key\": \"K\",\n    \"value\": \"AP8=\"\n  }\n"
                "]\n");
}

/* --- pull ---------------------------------------------------------------------------------------------- */

static void update(PullView *view, const char *digest, Crivirt__V1__LayerProgress__State state, guint64 done,
                   guint64 total, GString *changes)
{
    Crivirt__V1__PullProgress progress = CRIVIRT__V1__PULL_PROGRESS__INIT;
    Crivirt__V1__LayerProgress layer = CRIVIRT__V1__LAYER_PROGRESS__INIT;
    Crivirt__V1__LayerProgress *layers[] = {&layer};

    layer.digest = (char *)digest;
    layer.state = state;
    layer.done_bytes = done;
    layer.total_bytes = total;
    progress.layers = layers;
    progress.n_layers = 1;
    pull_view_update(view, &progress, changes);
}
#define LAYER(name) CRIVIRT__V1__LAYER_PROGRESS__STATE__##name

static void changes_are_told_once(void)
{
    g_autoptr(PullView) view = pull_view_new();
    g_autoptr(GString) changes = g_string_new(NULL);

    update(view, "sha256:aaaaaaaaaaaaaaaa", LAYER(DOWNLOADING), 1, 10, changes);
    update(view, "sha256:aaaaaaaaaaaaaaaa", LAYER(DOWNLOADING), 5, 10, changes);
    update(view, "sha256:aaaaaaaaaaaaaaaa", LAYER(DONE), 10, 10, changes);
    CU_ASSERT_STRING_EQUAL(changes->str, "aaaaaaaaaaaa: downloading\naaaaaaaaaaaa: done\n");
}

static void bars_fit_the_terminal_and_layers_in_progress_come_first(void)
{
    g_autoptr(PullView) view = pull_view_new();
    guint lines = 0;

    update(view, "sha256:aaaaaaaaaaaaaaaa", LAYER(DONE), 10, 10, NULL);
    update(view, "sha256:bbbbbbbbbbbbbbbb", LAYER(DOWNLOADING), 500000, 1000000, NULL);
    update(view, "sha256:cccccccccccccccc", LAYER(WAITING), 0, 0, NULL);
    expect_text(pull_view_format(view, 58, 10, &lines),
                "aaaaaaaaaaaa: done        \n"
                "bbbbbbbbbbbb: downloading [=====>    ]  500kB/1.00MB\n"
                "cccccccccccc: waiting     \n");
    CU_ASSERT_EQUAL(lines, 3);
    expect_text(pull_view_format(view, 20, 1, &lines), "bbbbbbbbbbbb: downlo\n");
    CU_ASSERT_EQUAL(lines, 1);
}

static void a_guests_kernel_log_cannot_steer_the_terminal(void)
{
    static const char log[] =
        "<6>[    0.000000] Linux version 6.1\n<12>[    1.5] a<b>c \033[2Jevil\r\ttab\n[2.0] \xff\0end";

    expect_text(guest_log_text(log, sizeof log - 1),
                "[    0.000000] Linux version 6.1\n[    1.5] a<b>c [2Jevil\ttab\n[2.0] \xef\xbf\xbd end\n");
    expect_text(guest_log_text("", 0), "");
}

int main(void)
{
    static const TestCase cases[] = {
        {"columns are padded by their width on the screen", columns_are_padded_by_their_width_on_the_screen},
        {"control characters of a cell do not reach the terminal", cells_cannot_steer_the_terminal},
        {"durations are written as Docker writes them", durations_are_written_as_docker_writes_them},
        {"sizes have three significant digits", sizes_have_three_significant_digits},
        {"times are RFC 3339 and ids short", times_and_ids},
        {"JSON embeds valid documents, and other text as a string", json_is_json},
        {"messages are written in the proto3 JSON mapping", messages_are_written_in_the_proto3_json_mapping},
        {"bytes, numbers and lists of them are written", scalars_of_all_kinds},
        {"a guest's kernel log is printed without levels and control characters",
         a_guests_kernel_log_cannot_steer_the_terminal},
        {"each change of a layer is printed once", changes_are_told_once},
        {"bars fit the terminal, and layers in progress come first",
         bars_fit_the_terminal_and_layers_in_progress_come_first},
    };
    return test_main("cli_output", cases, G_N_ELEMENTS(cases));
}
