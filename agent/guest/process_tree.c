/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/process_tree.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/guest/cgroup.h"
#include "agent/guest/sysfile.h"

/* So many microseconds limit nothing, and with a number added are still far from an overflow in the kernel.
 */
#define MARKS (UINT64_C(1) << 62)

typedef struct {
    int pid, parent, session;
    bool is_member;
} Candidate;

typedef struct {
    Candidate *list;
    size_t n, room;
} Candidates;

typedef struct {
    pid_t leader; /* 0: it has ended */
    uint64_t mark;
} Tree;

uint64_t process_tree_new_mark(void)
{
    static uint64_t serial;
    return MARKS + ++serial;
}

void process_tree_carry(uint64_t mark)
{
    static rlim_t before;
    static bool carries;
    struct rlimit limit;

    if ((mark == 0 && !carries) || getrlimit(RLIMIT_RTTIME, &limit) < 0)
        return;
    if (!carries)
        before = limit.rlim_cur;
    limit.rlim_cur = mark != 0 ? mark : before;
    /* Under a smaller hard limit there are no marks. */
    carries = setrlimit(RLIMIT_RTTIME, &limit) == 0 ? mark != 0 : carries;
}

static bool carries_mark(int pid, uint64_t mark)
{
    struct rlimit limit;
    return mark != 0 && prlimit(pid, RLIMIT_RTTIME, NULL, &limit) == 0 && limit.rlim_cur == mark;
}

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

static bool candidate_take(int pid, void *data)
{
    Candidate candidate;
    return !candidate_read(pid, &candidate) || candidates_add(data, &candidate);
}

static bool has_member(const Candidates *candidates, int pid)
{
    for (size_t i = 0; i < candidates->n; i++)
        if (candidates->list[i].pid == pid)
            return candidates->list[i].is_member;
    return false;
}

static bool is_root_of(const Candidate *candidate, const Tree *tree)
{
    if (tree->leader != 0 && (candidate->pid == tree->leader || candidate->parent == tree->leader ||
                              candidate->session == tree->leader))
        return true;
    return carries_mark(candidate->pid, tree->mark);
}

/* Finds the members of the tree: those with its mark, the session of its leader, then children of members
 * until there are no more. */
static void candidates_find_members(const Candidates *candidates, const Tree *tree)
{
    bool more = true;
    for (size_t i = 0; i < candidates->n; i++)
        candidates->list[i].is_member = is_root_of(&candidates->list[i], tree);
    while (more) {
        more = false;
        for (size_t i = 0; i < candidates->n; i++) {
            Candidate *candidate = &candidates->list[i];
            if (candidate->is_member || !has_member(candidates, candidate->parent))
                continue;
            candidate->is_member = more = true;
        }
    }
}

/* Return: how many processes other than the leader were signalled. */
static size_t signal_members(const char *cgroup, const Tree *tree, int signal_number)
{
    Candidates candidates = {NULL, 0, 0};
    size_t n = 0;
    cgroup_each_process(cgroup, candidate_take, &candidates);
    candidates_find_members(&candidates, tree);
    for (size_t i = 0; i < candidates.n; i++) {
        const Candidate *candidate = &candidates.list[i];
        if (candidate->is_member && candidate->pid > 1 && candidate->pid != tree->leader &&
            kill(candidate->pid, signal_number) == 0)
            n++;
    }
    free(candidates.list);
    return n;
}

bool process_tree_signal(const char *cgroup, pid_t pid, uint64_t mark, int signal_number)
{
    const Tree tree = {pid, mark};

    /* The leader is signalled last, so that its children are still found by their parent. */
    for (int i = 0; i < PROCESS_TREE_SWEEPS; i++) {
        if (signal_members(cgroup, &tree, signal_number) == 0 || signal_number != SIGKILL)
            break;
        usleep(1000);
    }
    bool sent = pid == 0 || kill(pid, signal_number) == 0 || errno == ESRCH;
    int problem = errno;
    if (signal_number == SIGKILL)
        signal_members(cgroup, &tree, signal_number);
    errno = problem;
    return sent;
}
