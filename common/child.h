/* SPDX-License-Identifier: Apache-2.0 */
/* What a child of the daemon gets: its protection from the kernel's OOM killer, its priority, its limit of
 * core files, its descriptors and its environment. The daemon's own would be wrong: systemd protects the
 * daemon with an oom_score_adj of -999, which a child inherits, so that the kernel would kill the node's
 * services to spare VMs. children.def has a row for each kind of child.
 *
 * child_spawn() is the only place where the daemon starts programs; libvirt, which forks by itself, is
 * covered by child_watch_forks(). Threads: any.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* The column of children.def for a child that has the score of its pod. */
#define CHILD_SCORE_OF_POD G_MAXINT

typedef enum {
#define CHILD(kind, oom_score_adj, niceness, core, environment) CHILD_##kind,
#include "common/children.def"
    CHILD_KINDS
} ChildKind;

typedef struct {
    const char *const *argv;        /* argv[0] is looked up in PATH */
    const char *const *environment; /* "NAME=value", NULL-terminated; NULL: that of its kind */
    const int *fds;                 /* fds[i] becomes descriptor i, -1: /dev/null; it inherits no others */
    guint n_fds;                    /* fds[i] is at least i, for what is below has been replaced by then */
    gboolean new_session;           /* else it leads a process group */
    ChildKind kind;
    int pod_oom_score_adj; /* for a kind with CHILD_SCORE_OF_POD */
} ChildSpec;

/* Starts a program, which the caller reaps. All its signals are unblocked and have their default actions.
 * Errors: INTERNAL when it cannot be run. */
gboolean child_spawn(const ChildSpec *spec, pid_t *ret_pid, GError **error);

/* Return: the environment of that kind; the caller frees it. */
char **child_environment(ChildKind kind);

/* Return: the score of a child of that kind; pod_oom_score_adj as in ChildSpec. */
int child_oom_score_adj(ChildKind kind, int pod_oom_score_adj);

/* Gives score and niceness of the kind to a process that runs already, and to its children. The process may
 * end meanwhile. */
void child_adjust(pid_t pid, ChildKind kind, int pod_oom_score_adj);

/* Counts the end of a child that nothing had asked for (the metric crivirt_child_deaths_total). */
void child_count_death(ChildKind kind);

/* Gives each process that a library forks from now on the score 0, before the process does anything else. May
 * be called again. */
void child_watch_forks(void);
