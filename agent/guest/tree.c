/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/tree.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/fault.h"
#include "agent/guest/job.h"

static int tree_remove_entry(const char *path, const struct stat *status, int type, struct FTW *position)
{
    int flags_kept = type == FTW_DP || type == FTW_D || type == FTW_DNR;
    if ((flags_kept ? rmdir(path) : unlink(path)) < 0 && errno != ENOENT)
        fprintf(stderr, "crivirt-agent: cannot remove %s: %s\n", path, strerror(errno));
    return 0;
}

bool tree_remove(const char *path)
{
    return nftw(path, tree_remove_entry, 32, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0;
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
