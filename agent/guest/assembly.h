/* SPDX-License-Identifier: Apache-2.0 */
/* Puts messages of the daemon together that come in Parts, because they are too long for one frame. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/messages.h"

/* Appends a part. Return: true when the message is complete; the caller then frees *ret_message with free().
 * A message that is too long, or for which there is no memory, is dropped with all its parts. */
bool assembly_add(const Part *part, uint8_t **ret_message, size_t *ret_length);

/* Drops the parts so far, because a new connection has begun. */
void assembly_reset(void);
