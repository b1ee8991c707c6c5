/* A second process that knows what the first one knows, and goes on in its place when that is killed.
 *
 * It is a fork of the first: memory and descriptors as they were then. So it is to be made anew whenever
 * something has changed that matters. Nothing is sent between the two but a goodbye.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    int fd; /* readable when it has died; -1: there is none */
    pid_t pid;
} Standby;

/* What a process that stands by is called in lists of processes, so that killing by the other's name leaves
 * it. */
#define STANDBY_NAME "fsguard-standby"
#define STANDBY_NONE ((Standby){.fd = -1})

/* Makes one in place of the one that there is. Returns true in another process than it was called in: in the
 * standby, once the caller has died without a goodbye; that has no standby yet. */
bool standby_make(Standby *standby);
/* Says goodbye: it ends as well. Of none, or one that has died: forgets it. */
void standby_dismiss(Standby *standby);
