/* SPDX-License-Identifier: Apache-2.0 */
/* What a plugin prints: parsed as a result, converted to every version and parsed again; and as a failure. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cni-bridge/cni_exec.h"
#include "cni-bridge/cni_output_json.h"
#include "cni-bridge/cni_result.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What we hand to the next plugin must be what we would take ourselves. */
static void convert(const CniOutput *output, CniVersion version)
{
    g_autofree char *json = cni_output_json(output, version);
    g_autoptr(GError) error = NULL;
    g_autoptr(CniOutput) again = cni_output_parse(json, strlen(json), version, &error);

    if (again == NULL)
        g_error("%s: %s", json, error->message);
}

static void read_failure(const char *text, size_t size)
{
    CniConfig config = {.name = (char *)"net"};
    CniPlugin plugin = {.type = "plugin"};
    CniCall call = {.command = "ADD", .config = &config, .plugin = &plugin};
    g_auto(ProcessResult) result = {.exit_code = 1, .output_length = size};
    g_autoptr(GError) error = NULL;

    result.output = g_malloc(size + 1);
    memcpy(result.output, text, size);
    result.output[size] = '\0';
    result.errors = g_strndup(text, size);
    cni_exec_set_failure(&call, &result, &error);
    g_assert(error != NULL && g_utf8_validate(error->message, -1, NULL));
    g_assert(strchr(error->message, '\n') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    g_autoptr(CniOutput) output = cni_output_parse(text, size, CNI_VERSION_1_0_0, NULL);
    CniResult *result = output != NULL ? cni_output_result(output, "eth0", NULL) : NULL;

    for (CniVersion version = CNI_VERSION_0_1_0; output != NULL && version <= CNI_VERSION_1_1_0; version++)
        convert(output, version);
    cni_result_free(result);
    read_failure(text, size);
    return 0;
}
