/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile client of the streaming server before it is upgraded: the head of its request. */
#include <stdint.h>

#include "cri-server/streaming/http_request.h"
#include "cri-server/streaming/negotiate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gsize length = http_head_length(data, size);
    g_autoptr(HttpRequest) request = length > 0 ? http_request_parse(data, length, NULL) : NULL;
    const char *problem;
    StreamUpgrade upgrade;

    if (request != NULL && negotiate_upgrade(request, &upgrade, &problem) == 0)
        g_free(negotiate_answer(request, &upgrade));
    return 0;
}
