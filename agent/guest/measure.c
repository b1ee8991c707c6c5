/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/guest/container.h"
#include "agent/guest/fault.h"
#include "agent/guest/job.h"
#include "agent/guest/paths.h"
#include "agent/guest/sysfile.h"
#include "agent/guest/walk.h"

static const char measure_result[] = RUN_DIR "/measure";

static bool walking;
static int64_t wanted_ns; /* when Stats was last asked for */

/* ---- in the agent ---- */

static bool measure_is_due(const Container *container, int64_t now_ns)
{
    const Measure *measure = &container->writable;
    return container->state != CONTAINER_CREATING && measure->tried_ns < wanted_ns &&
           (measure->tried_ns == 0 || now_ns - measure->tried_ns >= MEASURE_EVERY_MS * INT64_C(1000000));
}

static Container *measure_most_due(void)
{
    Container *found = NULL;
    int64_t now_ns = clock_monotonic_ns();
    for (Container *container = container_next(NULL); container != NULL;
         container = container_next(container))
        if (measure_is_due(container, now_ns) &&
            (found == NULL || container->writable.tried_ns < found->writable.tried_ns))
            found = container;
    return found;
}

static void measure_start_next(void);

static void measure_take_result(const char *id)
{
    char text[64];
    Container *container = container_find(id);
    uint64_t bytes = 0, inodes = 0;
    if (container == NULL || !sysfile_read(measure_result, text, sizeof text) ||
        sscanf(text, "%" SCNu64 " %" SCNu64, &bytes, &inodes) != 2) /* NOLINT: our own numbers */
        return;
    container->writable.bytes = bytes;
    container->writable.inodes = inodes;
    container->writable.at_ns = clock_monotonic_ns();
}

static void measure_walk_done(void *data, Job *job, const Fault *failure)
{
    char *id = data;
    if (failure != NULL)
        complain("%s", failure->message);
    else
        measure_take_result(id);
    free(id);
    unlink(measure_result);
    walking = false;
    measure_start_next();
}

static void measure_start_next(void)
{
    Container *container = walking ? NULL : measure_most_due();
    char path[256];
    Fault error;
    if (container == NULL)
        return;
    snprintf(path, sizeof path, UPPER_DIR "/%s/fs", container->id);
    const char *const argv[] = {"/proc/self/exe", MEASURE_OPTION, path, measure_result, NULL};
    const JobSpec spec = {.argv = argv, .failing = "measuring a writable layer"};
    char *id = strdup(container->id);
    container->writable.tried_ns = clock_monotonic_ns();
    walking = id != NULL && job_start(&spec, measure_walk_done, id, &error);
    if (!walking)
        free(id);
}

void measure_refresh(void)
{
    wanted_ns = clock_monotonic_ns();
    measure_start_next();
}

/* ---- in the process that walks ---- */

static double sum_bytes, sum_inodes;

/* The walk meets a file with n names up to n times, so each time counts 1/n of it. */
static void add_entry(const struct stat *status, void *data)
{
    double names = S_ISDIR(status->st_mode) || status->st_nlink == 0 ? 1 : (double)status->st_nlink;
    sum_bytes += (double)status->st_blocks * 512 / names;
    sum_inodes += 1 / names;
}

bool measure_tree(const char *path, const char *result_path)
{
    setpriority(PRIO_PROCESS, 0, 19);
    alarm(MEASURE_TIMEOUT_S);
    if (!walk_tree(path, add_entry, NULL))
        return false;
    FILE *result = fopen(result_path, "we");
    if (result == NULL)
        return false;
    fprintf(result, "%.0f %.0f\n", sum_bytes, sum_inodes);
    return fclose(result) == 0;
}
