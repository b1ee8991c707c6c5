/* SPDX-License-Identifier: Apache-2.0 */
/* The input of a fuzz target that reads it as a program. What lies behind its end is zeros. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *data;
    size_t left;
} Input;

static inline uint8_t take(Input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->data++;
}
