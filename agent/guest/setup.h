/* SPDX-License-Identifier: Apache-2.0 */
/* The pod that this guest is assigned to. */
#pragma once

#include <stdbool.h>

/* Return: the id of the sandbox; empty before Setup. */
const char *setup_sandbox_id(void);
/* For the agent of a host pod: its shared memory (shm) or its writable directories (upper) are mounted
 * already. */
void setup_given(bool shm, bool upper);
