/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file, as a list and as one plugin's; what loads is turned into a plugin's input. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "cni-bridge/cni_exec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_config(const char *text, size_t size, gboolean is_list)
{
    static const char *const dirs[] = {"/nonexistent", NULL};
    static const CniPortMapping ports[] = {{(char *)"tcp", 80, 8080, NULL}};
    static const CniAttachment attachment = {.container_id = "c",
                                             .netns_path = "/n",
                                             .ifname = "eth0",
                                             .port_mappings = ports,
                                             .n_port_mappings = 1};
    g_autoptr(CniConfig) config = cni_config_parse(
        &(CniConfigText){.text = text, .length = size, .source = "fuzz", .is_list = is_list}, NULL);

    for (guint i = 0; config != NULL && i < config->plugins->len; i++) {
        CniCall call = {.command = "ADD",
                        .config = config,
                        .plugin = g_ptr_array_index(config->plugins, i),
                        .plugin_dirs = dirs,
                        .attachment = &attachment,
                        .previous = "{}"};
        g_autofree char *input = cni_exec_input(&call, NULL);
        g_autoptr(JsonDocument) again = json_document_parse(input, strlen(input), "input", NULL, NULL);

        g_assert(again != NULL && strchr(call.plugin->type, '/') == NULL && cni_name_is_valid(config->name));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    read_config((const char *)data, size, TRUE);
    read_config((const char *)data, size, FALSE);
    return 0;
}
