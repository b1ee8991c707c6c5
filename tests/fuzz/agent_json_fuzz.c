/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's JSON reader on malformed text: every span lies inside the text. */
#include <stdint.h>
#include <stdlib.h>

#include "agent/guest/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(JsonSpan object, int depth)
{
    JsonMembers members = {.object = object};
    JsonSpan key, value;
    while (json_next_member(&members, &key, &value)) {
        if (key.text < object.text || key.text + key.length > value.text ||
            value.text + value.length > object.text + object.length)
            abort();
        if (depth < 20)
            walk(value, depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    walk((JsonSpan){(const char *)data, size}, 0);
    return 0;
}
