/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/guest/fault.h"
#include "agent/guest/job.h"
#include "agent/guest/loop.h"
#include "agent/guest/walk.h"

enum { TREES_AT_ONCE = 8 };

bool tree_remove(const char *path)
{
    if (walk_remove(path))
        return true;
    fprintf(stderr, "crivirt-agent: cannot remove all of %s: %s\n", path, strerror(errno));
    return false;
}

static void tree_remove_done(void *data, Job *job, const Fault *failure)
{
    if (failure != NULL)
        complain("%s", failure->message);
}

/* Trees that have their new name, and wait for the process that removes them. */
static struct {
    Timer timer;
    char paths[TREES_AT_ONCE][300];
    size_t n;
} doomed;

static void remove_doomed(void *data)
{
    const char *argv[TREES_AT_ONCE + 3] = {"/proc/self/exe", TREE_REMOVE_OPTION};
    const JobSpec spec = {.argv = argv, .failing = "removing a container's files"};
    Fault error;

    for (size_t i = 0; i < doomed.n; i++)
        argv[2 + i] = doomed.paths[i];
    doomed.n = 0;
    if (!job_start(&spec, tree_remove_done, NULL, &error))
        complain("%s", error.message);
}

void tree_remove_later(const char *parent, const char *name)
{
    static unsigned serial;
    char from[300], to[300];

    snprintf(from, sizeof from, "%s/%s", parent, name);
    snprintf(to, sizeof to, "%s/:%u", parent, serial++); /* not a valid id, so no container has this name */
    if (rename(from, to) < 0) {
        if (errno != ENOENT)
            complain("cannot rename %s for its removal: %s", from, strerror(errno));
        return;
    }
    if (doomed.n == TREES_AT_ONCE)
        remove_doomed(NULL);
    strcpy(doomed.paths[doomed.n++], to); /* NOLINT: of the same size */
    doomed.timer.call = remove_doomed;
    timer_start(&doomed.timer, 0);
}
