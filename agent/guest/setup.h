/* The pod that this guest was given. */
#pragma once

#include <stdbool.h>

/* Empty before Setup. */
const char *setup_sandbox_id(void);
/* Who prepared the namespace has mounted the shared memory (shm), the writable directories (upper) already.
 */
void setup_given(bool shm, bool upper);
