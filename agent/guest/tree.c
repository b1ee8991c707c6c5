/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/guest/fault.h"
#include "agent/guest/job.h"
#include "agent/guest/walk.h"

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

void tree_remove_later(const char *parent, const char *name)
{
    static unsigned serial;
    char from[512], to[512];
    Fault error;

    snprintf(from, sizeof from, "%s/%s", parent, name);
    snprintf(to, sizeof to, "%s/:%u", parent, serial++); /* not a valid id, so no container has this name */
    if (rename(from, to) < 0) {
        if (errno != ENOENT)
            complain("cannot rename %s for its removal: %s", from, strerror(errno));
        return;
    }
    const char *const argv[] = {"/proc/self/exe", TREE_REMOVE_OPTION, to, NULL};
    const JobSpec spec = {.argv = argv, .failing = "removing a container's files"};
    if (!job_start(&spec, tree_remove_done, NULL, &error))
        complain("%s", error.message);
}
