/* The pod that this guest was given. */
#pragma once

/* Empty before Setup. */
const char *setup_sandbox_id(void);
