/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/process_tree.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/guest/sysfile.h"

typedef struct {
    int pid, parent, session;
    bool is_member;
} Candidate;

typedef struct {
    Candidate *list;
    size_t n, room;
} Candidates;

/* Reads the parent and the session from /proc/PID/stat: "pid (name) state parent group session …". */
static bool candidate_read(int pid, Candidate *ret_candidate)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (!sysfile_read(path, text, sizeof text))
        return false;
    const char *name_end = strrchr(text, ')');
    *ret_candidate = (Candidate){.pid = pid};
    return name_end != NULL && sscanf(name_end + 1, " %*c %d %*d %d", /* NOLINT: the kernel's numbers */
                                      &ret_candidate->parent, &ret_candidate->session) == 2;
}

static bool candidates_add(Candidates *candidates, const Candidate *candidate)
{
    if (candidates->n == candidates->room) {
        size_t room = candidates->room * 2 + 64;
        Candidate *list = realloc(candidates->list, room * sizeof *list);
        if (list == NULL)
            return false;
        candidates->list = list;
        candidates->room = room;
    }
    candidates->list[candidates->n++] = *candidate;
    return true;
}

static void candidates_read(const char *cgroup, Candidates *ret_candidates)
{
    char path[640];
    int pid;
    snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
    FILE *file = fopen(path, "re");
    while (file != NULL && fscanf(file, "%d", &pid) == 1) { /* NOLINT: the kernel's numbers */
        Candidate candidate;
        if (candidate_read(pid, &candidate) && !candidates_add(ret_candidates, &candidate))
            break;
    }
    if (file != NULL)
        fclose(file);
}

static bool has_member(const Candidates *candidates, int pid)
{
    for (size_t i = 0; i < candidates->n; i++)
        if (candidates->list[i].pid == pid)
            return candidates->list[i].is_member;
    return false;
}

/* Marks the members of the tree: the session of `leader`, then children of members until there are no more.
 */
static void candidates_mark(const Candidates *candidates, int leader)
{
    bool more = true;
    for (size_t i = 0; i < candidates->n; i++)
        candidates->list[i].is_member =
            candidates->list[i].pid == leader || candidates->list[i].session == leader;
    while (more) {
        more = false;
        for (size_t i = 0; i < candidates->n; i++) {
            Candidate *candidate = &candidates->list[i];
            if (candidate->is_member ||
                (candidate->parent != leader && !has_member(candidates, candidate->parent)))
                continue;
            candidate->is_member = more = true;
        }
    }
}

/* Return: how many processes other than the leader were signalled. */
static size_t signal_members(const char *cgroup, int leader, int signal_number)
{
    Candidates candidates = {NULL, 0, 0};
    size_t n = 0;
    candidates_read(cgroup, &candidates);
    candidates_mark(&candidates, leader);
    for (size_t i = 0; i < candidates.n; i++) {
        const Candidate *candidate = &candidates.list[i];
        if (candidate->is_member && candidate->pid > 1 && candidate->pid != leader &&
            kill(candidate->pid, signal_number) == 0)
            n++;
    }
    free(candidates.list);
    return n;
}

bool process_tree_signal(const char *cgroup, pid_t pid, int signal_number)
{
    /* The leader is signalled last, so that its children are still found by their parent. */
    for (int i = 0; i < PROCESS_TREE_SWEEPS; i++) {
        if (signal_members(cgroup, pid, signal_number) == 0 || signal_number != SIGKILL)
            break;
        usleep(1000);
    }
    bool sent = kill(pid, signal_number) == 0 || errno == ESRCH;
    int problem = errno;
    if (signal_number == SIGKILL)
        signal_members(cgroup, pid, signal_number);
    errno = problem;
    return sent;
}
