/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a seccomp profile of the node results in JSON or in an error. */
#include <stddef.h>
#include <stdint.h>

#include "common/json_writer.h"
#include "sandbox/oci/seccomp_profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(JsonWriter) json = json_writer_new();
    g_autoptr(JsonDocument) again = NULL;
    GError *error = NULL;
    const char *text;
    gsize length = 0;

    json_writer_open_object(json, NULL);
    if (seccomp_profile_put_text(json, "fuzz", (const char *)data, size, &error)) {
        json_writer_close_object(json);
        text = json_writer_text(json, &length);
        again = json_document_parse(text, length, "profile", NULL, NULL);
        g_assert(again != NULL);
    } else {
        g_assert(error != NULL);
    }
    g_clear_error(&error);
    return 0;
}
