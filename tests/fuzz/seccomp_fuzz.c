/* A seccomp profile of the node: whatever it says, what comes out of it is JSON or an error. */
#include <stddef.h>
#include <stdint.h>

#include "sandbox/oci/seccomp_profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    yajl_gen json = yajl_gen_alloc(NULL);
    GError *error = NULL;

    yajl_gen_map_open(json);
    if (seccomp_profile_put_text(json, "fuzz", (const char *)data, size, &error))
        g_assert(yajl_gen_map_close(json) == yajl_gen_status_ok);
    else
        g_assert(error != NULL);
    g_clear_error(&error);
    yajl_gen_free(json);
    return 0;
}
