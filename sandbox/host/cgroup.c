/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "sandbox/host/systemd_scope.h"

enum {
    SMALL_FILE_BYTES = 64 << 10,
    PROCESSES_BYTES = 64 << 20,
    PAUSE_US = 2000,
    MOVE_SWEEPS = 100,
    OWNER_TAG_MAX_BYTES = 64
};

/* ---- names ---- */

/* "a-b-c.slice" is /a.slice/a-b.slice/a-b-c.slice. */
static char *slice_path(const char *slice)
{
    GString *path = g_string_new(NULL);
    gsize stem = strlen(slice) - strlen(".slice");

    for (gsize i = 1; i <= stem; i++)
        if (i == stem || slice[i] == '-')
            g_string_append_printf(path, "/%.*s.slice", (int)i, slice);
    return g_string_free(path, FALSE);
}

static gboolean path_is_plain(const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);

    for (guint i = 0; parts[i] != NULL; i++)
        if (g_str_equal(parts[i], "..") || g_str_equal(parts[i], "."))
            return FALSE;
    return TRUE;
}

gboolean cgroup_parent_path(const char *parent, char **ret_path, GError **error)
{
    if (g_str_has_suffix(parent, ".slice") && strchr(parent, '/') == NULL && *parent != '.' &&
        *parent != '-' && strstr(parent, "--") == NULL) {
        *ret_path = slice_path(parent);
        return TRUE;
    }
    if (*parent != '/' || !path_is_plain(parent))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "linux.cgroup_parent: \"%s\" is neither an absolute path nor a systemd slice", parent);
    *ret_path = g_strdup(parent);
    return TRUE;
}

/* ---- hierarchies ---- */

static gboolean is_hierarchy(const char *directory)
{
    g_autofree char *procs = g_build_filename(directory, "cgroup.procs", NULL);

    return g_file_test(procs, G_FILE_TEST_EXISTS);
}

/* Return: root itself in version 2, else the directories below it. A symbolic link ("cpu" to "cpu,cpuacct")
 * is not another hierarchy. */
static GPtrArray *hierarchies(const char *root)
{
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);
    GDir *directory;
    const char *name;

    if (is_hierarchy(root)) {
        g_ptr_array_add(list, g_strdup(root));
        return list;
    }
    directory = g_dir_open(root, 0, NULL);
    while (directory != NULL && (name = g_dir_read_name(directory)) != NULL) {
        g_autofree char *path = g_build_filename(root, name, NULL);

        if (!g_file_test(path, G_FILE_TEST_IS_SYMLINK) && is_hierarchy(path))
            g_ptr_array_add(list, g_steal_pointer(&path));
    }
    if (directory != NULL)
        g_dir_close(directory);
    return list;
}

static gboolean file_put(const char *directory, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    gboolean done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return done;
}

/* Return: what is in the file, without white space around it; NULL when it cannot be read. */
static char *word_read(const char *directory, const char *file)
{
    g_autofree char *path = g_build_filename(directory, file, NULL);
    char *text = NULL;

    return file_read(path, SMALL_FILE_BYTES, &text, NULL, NULL) ? g_strstrip(text) : NULL;
}

/* In version 1 a new cpuset is empty and accepts no process: from the top down, each gets the values of its
 * parent. */
static void inherit_cpuset(const char *hierarchy, const char *directory)
{
    static const char *const names[] = {"cpuset.cpus", "cpuset.mems"};
    g_autofree char *parent = g_path_get_dirname(directory);

    if (strlen(directory) <= strlen(hierarchy))
        return;
    inherit_cpuset(hierarchy, parent);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *present = word_read(directory, names[i]);
        g_autofree char *value = word_read(parent, names[i]);

        if (present != NULL && *present == '\0' && value != NULL)
            file_put(directory, names[i], value);
    }
}

/* In version 2 a cgroup has the controllers that its parent enables for its children. The kubelet leaves that
 * to the runtime for a pod's cgroup. A controller that cannot be enabled is an error only where it is needed.
 */
static void enable_controllers(const char *hierarchy, const char *directory)
{
    g_autofree char *parent = g_path_get_dirname(directory);
    g_autofree char *file = g_build_filename(parent, "cgroup.controllers", NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) names = NULL;

    if (strlen(directory) <= strlen(hierarchy))
        return;
    enable_controllers(hierarchy, parent);
    if (!file_read(file, SMALL_FILE_BYTES, &text, NULL, NULL))
        return;
    names = g_strsplit(g_strstrip(text), " ", -1);
    for (guint i = 0; names[i] != NULL; i++) {
        g_autofree char *change = g_strconcat("+", names[i], NULL);

        file_put(parent, "cgroup.subtree_control", change);
    }
}

static gboolean process_move(const char *directory, pid_t pid, GError **error)
{
    g_autofree char *text = g_strdup_printf("%d", (int)pid);

    if (file_put(directory, "cgroup.procs", text) || errno == ESRCH)
        return TRUE;
    return fail_errno(error, errno, "cannot move process %d into the cgroup %s", (int)pid, directory);
}

/* A process outside our PID namespace has the number 0 and is left out. Return: the cgroup's processes, an
 * array of pid_t that the caller frees; NULL with the error when the cgroup is missing. */
static GArray *processes_of(const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "cgroup.procs", NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    GArray *pids;

    if (!file_read(path, PROCESSES_BYTES, &text, NULL, error))
        return NULL;
    lines = g_strsplit(text, "\n", -1);
    pids = g_array_new(FALSE, FALSE, sizeof(pid_t));
    for (guint i = 0; lines[i] != NULL; i++) {
        const pid_t pid = (pid_t)g_ascii_strtoll(lines[i], NULL, 10);

        if (pid > 0)
            g_array_append_val(pids, pid);
    }
    return pids;
}

/* Children that a process forked before the move are still in the old cgroup. */
static gboolean move_process_with_children(const char *directory, pid_t pid, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%d/children", (int)pid, (int)pid);
    g_autofree char *text = NULL;
    g_auto(GStrv) children = NULL;

    if (!process_move(directory, pid, error))
        return FALSE;
    if (!file_read(path, SMALL_FILE_BYTES, &text, NULL, NULL))
        return TRUE;
    children = g_strsplit(g_strstrip(text), " ", -1);
    for (guint i = 0; children[i] != NULL; i++)
        if (*children[i] != '\0' &&
            !process_move(directory, (pid_t)g_ascii_strtoll(children[i], NULL, 10), error))
            return FALSE;
    return TRUE;
}

/* ---- the child's places ---- */

#define SCOPE ".scope"
/* Two scopes have two names, also when their slices differ. */
#define SCOPE_BESIDE "-beside" SCOPE

static char *path_beside(const char *hierarchy, const char *path, const char *name, const char *suffix)
{
    g_autofree char *above = g_path_get_dirname(path);
    g_autofree char *file = g_strconcat(name, suffix, NULL);

    return g_build_filename(hierarchy, above, file, NULL);
}

static char *path_below(const char *hierarchy, const char *path, const char *name, const char *suffix)
{
    g_autofree char *file = g_strconcat(name, suffix, NULL);

    return g_build_filename(hierarchy, path, file, NULL);
}

/* Whether new children of that cgroup are scopes: systemd has made it and takes care of it. A path that a
 * slice's name would not unfold to is not systemd's. */
static gboolean has_scopes(const char *hierarchy, const char *path)
{
    g_autofree char *slice = g_path_get_basename(path);
    g_autofree char *unfolded = NULL;

    return g_str_has_suffix(slice, ".slice") && systemd_manages(hierarchy) &&
           cgroup_parent_path(slice, &unfolded, NULL) && g_str_equal(unfolded, path);
}

/* Return: where the child is, or will be, in one hierarchy; name NULL: its parent. A daemon of an older
 * version may have made it without systemd. */
static char *locate_child(const char *hierarchy, const char *path, const char *name)
{
    if (name == NULL)
        return g_build_filename(hierarchy, path, NULL);

    char *const places[] = {
        path_beside(hierarchy, path, name, ""),
        path_beside(hierarchy, path, name, SCOPE_BESIDE),
        path_below(hierarchy, path, name, SCOPE),
        path_below(hierarchy, path, name, ""),
    };
    gsize found = 0;

    while (found < G_N_ELEMENTS(places) && !is_hierarchy(places[found]))
        found++;
    if (found == G_N_ELEMENTS(places))
        found = has_scopes(hierarchy, path) ? 2 : 3;
    for (gsize i = 0; i < G_N_ELEMENTS(places); i++)
        if (i != found)
            g_free(places[i]);
    return places[found];
}

/* Return: where the child is below its parent; it need not exist. */
static char *below_now(const char *hierarchy, const char *path, const char *name)
{
    g_autofree char *scope = path_below(hierarchy, path, name, SCOPE);

    return is_hierarchy(scope) ? g_steal_pointer(&scope) : path_below(hierarchy, path, name, "");
}

/* Makes the cgroup of the child with these processes, unless it exists: a scope where its name is that of
 * one.
 */
static gboolean child_make(const char *directory, const pid_t *pids, gsize n_pids, GError **error)
{
    g_autofree char *scope = g_path_get_basename(directory);
    g_autofree char *above = g_path_get_dirname(directory);
    g_autofree char *slice = g_path_get_basename(above);

    if (!g_str_has_suffix(directory, SCOPE) || is_hierarchy(directory))
        return dir_make(directory, 0755, error);
    return systemd_scope_start(scope, g_str_has_suffix(slice, ".slice") ? slice : "-.slice", pids, n_pids,
                               error);
}

gboolean cgroup_join(const char *root, const char *parent, const char *name, const pid_t *pids, gsize n_pids,
                     GError **error)
{
    g_autoptr(GPtrArray) list = hierarchies(root);
    g_autofree char *path = NULL;

    if (!cgroup_parent_path(parent, &path, error))
        return FALSE;
    for (guint i = 0; i < list->len; i++) {
        g_autofree char *directory = locate_child(list->pdata[i], path, name);

        if (!child_make(directory, pids, n_pids, error))
            return FALSE;
        inherit_cpuset(list->pdata[i], directory);
        if (g_str_equal(list->pdata[i],
                        root)) /* a version 2 hierarchy beside version 1 has no controllers to enable */
            enable_controllers(root, directory);
        for (gsize j = 0; j < n_pids; j++)
            if (!move_process_with_children(directory, pids[j], error))
                return FALSE;
    }
    return TRUE;
}

/* Return: the directory of the child in every hierarchy, whether it exists or not; name NULL: of its parent.
 */
static GPtrArray *child_directories(const char *root, const char *parent, const char *name, GError **error)
{
    g_autoptr(GPtrArray) list = hierarchies(root);
    GPtrArray *found;
    g_autofree char *path = NULL;

    if (!cgroup_parent_path(parent, &path, error))
        return NULL;
    found = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < list->len; i++)
        g_ptr_array_add(found, locate_child(list->pdata[i], path, name));
    return found;
}

gboolean cgroup_leave(const char *root, const char *parent, const char *name, GError **error)
{
    g_autoptr(GPtrArray) list = child_directories(root, parent, name, error);

    if (list == NULL)
        return FALSE;
    for (guint i = 0; i < list->len; i++) {
        const char *directory = list->pdata[i];

        if (rmdir(directory) != 0 && errno != ENOENT)
            return fail_errno(error, errno, "cannot remove the cgroup %s", directory);
    }
    return TRUE;
}

/* Return: FALSE when the hierarchy has no cpu controller (errno ENOENT), or refuses the limit. In version 1
 * the period is written first, because the ratio of quota to period may not exceed that of the parent. */
static gboolean write_cpu_limit(const char *directory, gint64 quota_us, gint64 period_us)
{
    g_autofree char *period = g_strdup_printf("%" G_GINT64_FORMAT, period_us);
    g_autofree char *quota = g_strdup_printf("%" G_GINT64_FORMAT, quota_us > 0 ? quota_us : -1);
    g_autofree char *both =
        quota_us > 0 ? g_strdup_printf("%" G_GINT64_FORMAT " %" G_GINT64_FORMAT, quota_us, period_us)
                     : g_strdup_printf("max %" G_GINT64_FORMAT, period_us);

    return file_put(directory, "cpu.max", both) || (file_put(directory, "cpu.cfs_period_us", period) &&
                                                    file_put(directory, "cpu.cfs_quota_us", quota));
}

gboolean cgroup_limit_cpu(const char *root, const char *parent, const char *name, gint64 quota_us,
                          gint64 period_us, GError **error)
{
    g_autoptr(GPtrArray) list = hierarchies(root);
    g_autofree char *path = NULL;

    if (!cgroup_parent_path(parent, &path, error))
        return FALSE;
    for (guint i = 0; i < list->len; i++) {
        g_autofree char *directory = locate_child(list->pdata[i], path, name);
        g_autofree char *scope = g_path_get_basename(directory);

        /* systemd applies its limit some time later. */
        if (g_str_has_suffix(scope, SCOPE) && is_hierarchy(directory) &&
            !systemd_scope_limit_cpu(scope, quota_us, period_us, error))
            return FALSE;
        if (write_cpu_limit(directory, quota_us, period_us))
            return TRUE;
        if (errno != ENOENT)
            return fail_errno(error, errno, "cannot limit the CPU time of the cgroup %s", directory);
    }
    /* Without a cpu controller there is no limit, which is what was asked for. */
    return quota_us <= 0 ||
           fail(error, STATUS_INTERNAL,
                "cannot limit the CPU time of the cgroup %s/%s: it has no cpu controller", path, name);
}

/* What the parent has: in version 2 its own set may be empty, and the effective one counts. */
static char *cpuset_above(const char *directory, const char *file)
{
    g_autofree char *above = g_path_get_dirname(directory);
    g_autofree char *effective = g_strconcat(file, ".effective", NULL);
    char *text = word_read(above, effective);

    return text != NULL ? text : word_read(above, file);
}

/* Once a set is not empty, no version lets it become so while there are processes (ENOSPC): what the parent
 * has stands for the empty one. */
static gboolean write_cpuset(const char *directory, const char *file, const CpuList *list, GError **error)
{
    g_autofree char *text = cpu_list_text(list);
    g_autofree char *present = word_read(directory, file);

    if (*text == '\0') {
        g_free(text);
        text = cpuset_above(directory, file);
    }
    if (text == NULL || present == NULL)
        return fail(error, STATUS_INTERNAL, "cannot read %s/%s, or that of its parent", directory, file);
    if ((*present == '\0' && cpu_list_length(list) == 0) || file_put(directory, file, text))
        return TRUE;
    if (errno == EINVAL || errno == ERANGE)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "%s: the node, or the pod's cgroup, does not have all of \"%s\"", file, text);
    return fail_errno(error, errno, "cannot write \"%s\" to %s/%s", text, directory, file);
}

gboolean cgroup_use_cpus(const char *root, const char *parent, const char *name, const CpuList *cpus,
                         const CpuList *mems, GError **error)
{
    g_autoptr(GPtrArray) list = child_directories(root, parent, name, error);

    if (list == NULL)
        return FALSE;
    for (guint i = 0; i < list->len; i++) {
        const char *directory = list->pdata[i];
        g_autofree char *scope = g_path_get_basename(directory);
        g_autofree char *file = g_build_filename(directory, "cpuset.cpus", NULL);

        if (g_file_test(file, G_FILE_TEST_EXISTS))
            return (!g_str_has_suffix(scope, SCOPE) || systemd_scope_use_cpus(scope, cpus, mems, error)) &&
                   write_cpuset(directory, "cpuset.cpus", cpus, error) &&
                   write_cpuset(directory, "cpuset.mems", mems, error);
    }
    /* Without a cpuset controller all CPUs can be used, which is what two empty sets ask for. */
    return cpu_list_length(cpus) + cpu_list_length(mems) == 0 ||
           fail(error, STATUS_INTERNAL,
                "cannot limit the cgroup %s/%s to some CPUs: it has no cpuset controller", parent, name);
}

/* Return: 0 for no limit, which is "max" in version 2 and nearly 2^63 in version 1. */
static guint64 limit_read(const char *directory, const char *name)
{
    g_autofree char *text = word_read(directory, name);
    guint64 bytes = text != NULL ? g_ascii_strtoull(text, NULL, 10) : 0;

    return bytes < G_MAXINT64 / 2 ? bytes : 0;
}

/* Return: the limit of version 2, or of version 1; 0: there is none. */
static guint64 memory_limit(const char *directory)
{
    guint64 bytes = limit_read(directory, "memory.max");

    return bytes != 0 ? bytes : limit_read(directory, "memory.limit_in_bytes");
}

guint64 cgroup_pids_max(const char *root, const char *parent)
{
    g_autoptr(GPtrArray) list = hierarchies(root);
    g_autofree char *path = NULL;
    guint64 most = 0;

    if (!cgroup_parent_path(parent, &path, NULL))
        return 0;
    for (guint i = 0; i < list->len && most == 0; i++) {
        g_autofree char *directory = g_build_filename(list->pdata[i], path, NULL);

        most = limit_read(directory, "pids.max");
    }
    return most;
}

/* Gives a cgroup the share of CPU time that another one has; only version 2 has the file. */
static void cpu_weight_copy(const char *from, const char *to)
{
    g_autofree char *text = word_read(from, "cpu.weight");
    g_autofree char *scope = g_path_get_basename(to);

    if (text == NULL)
        return;
    if (g_str_has_suffix(scope, SCOPE))
        systemd_scope_weigh_cpu(scope, g_ascii_strtoull(text, NULL, 10), NULL);
    file_put(to, "cpu.weight", text);
}

/* Moves all processes of `from`, and those that they fork meanwhile; then removes it. A missing `from` is
 * success. */
static gboolean move_processes(const char *from, const char *to, GError **error)
{
    for (guint sweep = 0; rmdir(from) != 0 && errno != ENOENT; sweep++) {
        g_autoptr(GArray) pids = NULL;

        if (sweep == MOVE_SWEEPS)
            return fail_errno(error, errno, "cannot remove the cgroup %s", from);
        if (sweep > 0)
            g_usleep(PAUSE_US);
        pids = processes_of(from, error);
        if (pids == NULL)
            return FALSE;
        for (guint i = 0; i < pids->len; i++)
            if (!process_move(to, g_array_index(pids, pid_t, i), error))
                return FALSE;
    }
    return TRUE;
}

gboolean cgroup_make_room(const char *root, const char *parent, const char *name, guint64 needed_bytes,
                          guint64 *ret_limit_bytes, GError **error)
{
    g_autoptr(GPtrArray) list = hierarchies(root);
    g_autofree char *path = NULL;
    guint64 too_small = 0;

    if (!cgroup_parent_path(parent, &path, error))
        return FALSE;
    for (guint i = 0; i < list->len; i++) {
        g_autofree char *above = g_build_filename(list->pdata[i], path, NULL);
        const gboolean scopes = has_scopes(list->pdata[i], path);
        g_autofree char *below = below_now(list->pdata[i], path, name);
        g_autofree char *beside = path_beside(list->pdata[i], path, name, scopes ? SCOPE_BESIDE : "");
        g_autoptr(GArray) pids = NULL;
        const guint64 limit = memory_limit(above);

        if (limit == 0 || limit >= needed_bytes)
            continue;
        too_small = limit;
        pids = processes_of(below, NULL);
        if (!child_make(beside, pids != NULL ? (const pid_t *)(void *)pids->data : NULL,
                        pids != NULL ? pids->len : 0, error))
            return FALSE;
        cpu_weight_copy(above, beside);
        if (!move_processes(below, beside, error))
            return FALSE;
    }
    *ret_limit_bytes = too_small;
    return TRUE;
}

/* ---- the kernel's kills ---- */

/* Return: the number behind that word at the beginning of a line, as in "oom_kill 1"; 0: there is none. */
static guint64 counter_read(const char *directory, const char *file, const char *word)
{
    g_autofree char *path = g_build_filename(directory, file, NULL);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!file_read(path, SMALL_FILE_BYTES, &text, NULL, NULL))
        return 0;
    lines = g_strsplit(text, "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++)
        if (g_str_has_prefix(lines[i], word) && lines[i][strlen(word)] == ' ')
            return g_ascii_strtoull(lines[i] + strlen(word), NULL, 10);
    return 0;
}

guint64 cgroup_count_oom_kills(const char *root, const char *parent, const char *name)
{
    g_autoptr(GPtrArray) list = child_directories(root, parent, name, NULL);
    guint64 count = 0;

    for (guint i = 0; list != NULL && i < list->len; i++)
        count += counter_read(list->pdata[i], "memory.events", "oom_kill") +     /* version 2 */
                 counter_read(list->pdata[i], "memory.oom_control", "oom_kill"); /* version 1 */
    return count;
}

/* ---- killing ---- */

static void kill_processes(const char *directory)
{
    g_autoptr(GArray) pids = processes_of(directory, NULL);

    for (guint i = 0; pids != NULL && i < pids->len; i++)
        if (g_array_index(pids, pid_t, i) > 1)
            kill(g_array_index(pids, pid_t, i), SIGKILL);
}

/* Kills once, children first. Return: TRUE when the directory is gone. */
static gboolean kill_and_remove(const char *directory)
{
    GDir *entries = g_dir_open(directory, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        if (g_file_test(path, G_FILE_TEST_IS_DIR))
            kill_and_remove(path);
    }
    if (entries != NULL)
        g_dir_close(entries);
    /* Version 2 kills everything below at once, with forks; version 1 needs several calls. */
    if (!file_put(directory, "cgroup.kill", "1"))
        kill_processes(directory);
    return rmdir(directory) == 0 || errno == ENOENT;
}

gboolean cgroup_kill_directory(const char *directory, const Deadline *deadline, GError **error)
{
    while (!kill_and_remove(directory)) {
        if (!deadline_check(deadline, "killing the processes of a cgroup", error)) {
            g_prefix_error(error, "%s: ", directory);
            return FALSE;
        }
        g_usleep(PAUSE_US);
    }
    return TRUE;
}

gboolean cgroup_kill(const char *root, const char *parent, const char *name, const Deadline *deadline,
                     GError **error)
{
    g_autoptr(GPtrArray) list = child_directories(root, parent, name, error);

    if (list == NULL)
        return FALSE;
    for (guint i = 0; i < list->len; i++)
        if (!cgroup_kill_directory(list->pdata[i], deadline, error))
            return FALSE;
    return TRUE;
}

/* ---- owner tags ---- */

#define OWNER_TAG_ATTRIBUTE "trusted.crivirt"

void cgroup_set_owner_tag(const char *root, const char *parent, const char *name, const char *owner_tag)
{
    g_autoptr(GPtrArray) list = child_directories(root, parent, name, NULL);

    for (guint i = 0; list != NULL && i < list->len; i++)
        setxattr(list->pdata[i], OWNER_TAG_ATTRIBUTE, owner_tag, strlen(owner_tag), 0);
}

static gboolean has_owner_tag(const char *directory, const char *owner_tag)
{
    char value[OWNER_TAG_MAX_BYTES];
    ssize_t length = getxattr(directory, OWNER_TAG_ATTRIBUTE, value, sizeof value);

    return length == (ssize_t)strlen(owner_tag) && memcmp(value, owner_tag, strlen(owner_tag)) == 0;
}

/* Children of a cgroup that was found are not searched. */
static void collect_by_owner_tag(const char *directory, const char *owner_tag, GPtrArray *found)
{
    DIR *entries = opendir(directory);
    const struct dirent *entry;

    while (entries != NULL && (entry = readdir(entries)) != NULL) {
        g_autofree char *path = NULL;

        if (entry->d_type != DT_DIR || *entry->d_name == '.')
            continue;
        path = g_build_filename(directory, entry->d_name, NULL);
        if (has_owner_tag(path, owner_tag))
            g_ptr_array_add(found, g_steal_pointer(&path));
        else
            collect_by_owner_tag(path, owner_tag, found);
    }
    if (entries != NULL)
        closedir(entries);
}

GPtrArray *cgroup_list_by_owner_tag(const char *root, const char *owner_tag)
{
    g_autoptr(GPtrArray) list = hierarchies(root);
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);

    for (guint i = 0; i < list->len; i++)
        collect_by_owner_tag(list->pdata[i], owner_tag, found);
    return found;
}
