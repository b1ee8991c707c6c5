/* SPDX-License-Identifier: Apache-2.0 */
/* Orphans: what pods have left on the node that belongs to no sandbox. A row is written before what it
 * stands for, so orphans come from a lost or an older state database, or from a crash during a write of
 * libvirt's.
 *
 * Only objects in this daemon's own directories or with its owner tag (host/owner_tag.h), and with the names
 * that it gives, are considered, so those of another daemon or an administrator are never touched.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/string_table.h"
#include "sandbox/host/cgroup.h"
#include "sandbox/pods/pod.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/sandbox.h"
#include "sandbox/volumes/share.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

enum {
    /* Digits of an id that every name begins with, and those that the name of a tap has. */
    ID_DIGITS = 20,
    TAP_DIGITS = 12,
    KILL_TIMEOUT_MS = 5000,
};

static gboolean file_remove(const char *path, GError **error)
{
    return unlink(path) == 0 || errno == ENOENT || fail_errno(error, errno, "cannot remove %s", path);
}

/* A share's directory, or a file beside it. */
static gboolean share_remove(const char *path, GError **error)
{
    return g_file_test(path, G_FILE_TEST_IS_DIR) ? share_delete(path, error) : file_remove(path, error);
}

typedef struct {
    gboolean in_run_dir; /* else below state_dir */
    const char *directory;
    gboolean (*remove)(const char *path, GError **error);
} Place;

static gboolean tap_remove(const char *name, GError **error)
{
    return tap_delete(name, "", error);
}

static gboolean cgroup_remove(const char *directory, GError **error)
{
    Deadline deadline = deadline_in_ms(KILL_TIMEOUT_MS);

    return cgroup_kill_directory(directory, &deadline, error);
}

static const Place places[] = {
    {TRUE, "vm", dir_remove_tree},
    {TRUE, "share", share_remove},
    {TRUE, "netns", netns_delete},
    {TRUE, "", file_remove}, /* files of file servers */
    {FALSE, "pods", dir_remove_tree},
    {FALSE, "libvirt/run/qemu", file_remove},
    {FALSE, "libvirt/log/qemu", file_remove},
};

/* Return: the beginning of the id in a name, which the caller frees; NULL: the name is not one of a pod's. */
static char *id_of(const char *name, gsize digits)
{
    return strspn(name, "0123456789abcdef") >= digits ? g_strndup(name, digits) : NULL;
}

typedef struct {
    gboolean (*remove)(const char *object, GError **error);
    const char *kind; /* for messages, in front of the object: "interface ", or empty */
    char *object;     /* a path, or an interface */
    char *id;         /* the beginning of the id */
} Candidate;

static void candidate_free(gpointer data)
{
    Candidate *candidate = data;

    g_free(candidate->object);
    g_free(candidate->id);
    g_free(candidate);
}

/* Takes ownership of object and id. id NULL: it is no orphan. */
static void candidate_add(GPtrArray *candidates, gboolean (*remove)(const char *, GError **),
                          const char *kind, char *object, char *id)
{
    Candidate candidate = {remove, kind, object, id};

    if (id != NULL)
        g_ptr_array_add(candidates, g_memdup2(&candidate, sizeof candidate));
    else
        g_free(object);
}

static void place_list(const SandboxManager *manager, const Place *place, GPtrArray *candidates)
{
    const char *base =
        place->in_run_dir ? manager->settings->server.run_dir : manager->settings->server.state_dir;
    g_autofree char *directory = g_build_filename(base, place->directory, NULL);
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL)
        candidate_add(candidates, place->remove, "", g_build_filename(directory, name, NULL),
                      id_of(name, ID_DIGITS));
}

/* Only in the daemon's own network namespace: a tap in a pod's namespace ends with that. */
static void taps_list(const SandboxManager *manager, GPtrArray *candidates)
{
    g_autoptr(GPtrArray) names = NULL;
    g_autoptr(GError) error = NULL;

    if (!tap_list(manager->owner_tag, &names, &error))
        log_error(LOG_NO_FIELDS, "%s", error->message);
    for (guint i = 0; names != NULL && i < names->len; i++) {
        const char *name = names->pdata[i];

        if (g_str_has_prefix(name, "cv"))
            candidate_add(candidates, tap_remove, "interface ", g_strdup(name),
                          id_of(name + strlen("cv"), TAP_DIGITS));
    }
}

static void cgroups_list(const SandboxManager *manager, GPtrArray *candidates)
{
    g_autoptr(GPtrArray) directories = cgroup_list_by_owner_tag(CGROUP_ROOT, manager->owner_tag);

    for (guint i = 0; i < directories->len; i++) {
        g_autofree char *name = g_path_get_basename(directories->pdata[i]);

        if (g_str_has_prefix(name, "crivirt-"))
            candidate_add(candidates, cgroup_remove, "", g_strdup(directories->pdata[i]),
                          id_of(name + strlen("crivirt-"), ID_DIGITS));
    }
}

static void known_add(GHashTable *known, const char *id)
{
    g_hash_table_add(known, g_strndup(id, ID_DIGITS));
    g_hash_table_add(known, g_strndup(id, TAP_DIGITS));
}

/* The ids of pods and of unassigned guests. The journal is read first: a guest that leaves it meanwhile
 * belongs to a pod. */
static GHashTable *known_ids(SandboxManager *manager)
{
    GHashTable *known = string_table_new(g_free, NULL);
    g_autofree char *journal = g_build_filename(manager->settings->server.state_dir, "guests", NULL);
    g_autoptr(GDir) guests = g_dir_open(journal, 0, NULL);
    g_autoptr(GPtrArray) pods = NULL;
    const char *name;

    while (guests != NULL && (name = g_dir_read_name(guests)) != NULL)
        known_add(known, name);
    pods = manager_pods(manager);
    for (guint i = 0; i < pods->len; i++)
        known_add(known, ((Pod *)pods->pdata[i])->id);
    return known;
}

static void candidate_remove(const Candidate *candidate)
{
    g_autoptr(GError) error = NULL;

    if (candidate->remove(candidate->object, &error))
        log_warning(LOG_NO_FIELDS, "removed %s%s, which belongs to no sandbox", candidate->kind,
                    candidate->object);
    else
        log_error(LOG_NO_FIELDS, "%s%s belongs to no sandbox and cannot be removed: %s", candidate->kind,
                  candidate->object, error->message);
}

GPtrArray *sandbox_collect_orphans(SandboxManager *manager, gboolean dry_run)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) candidates = g_ptr_array_new_with_free_func(candidate_free);
    g_autoptr(GHashTable) known = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(places); i++)
        place_list(manager, &places[i], candidates);
    taps_list(manager, candidates);
    cgroups_list(manager, candidates);
    /* The owners are collected afterwards: an owner is recorded before its objects are made, and until they
     * are removed. */
    known = known_ids(manager);
    for (guint i = 0; i < candidates->len; i++) {
        const Candidate *candidate = candidates->pdata[i];

        if (g_hash_table_contains(known, candidate->id))
            continue;
        g_ptr_array_add(found, g_strconcat(candidate->kind, candidate->object, NULL));
        if (!dry_run)
            candidate_remove(candidate);
    }
    return found;
}
