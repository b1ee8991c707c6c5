/* What of pods is on the node that no sandbox speaks of any more: a row is written before what it stands for,
 * so this takes a lost or an older state database, or a death in the middle of somebody else's write
 * (libvirt's).
 *
 * Only what lies in this daemon's own directories and is called as its things are (twenty digits of an id at
 * least) is looked at, so another daemon's or an administrator's files are never touched. Pods may be made
 * and removed meanwhile.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "sandbox/pod.h"
#include "sandbox/share.h"

/* As many of an id's digits as every name has at its beginning. */
enum { ID_DIGITS = 20 };

static gboolean file_remove(const char *path, GError **error)
{
    return unlink(path) == 0 || errno == ENOENT || fail_errno(error, errno, "cannot remove %s", path);
}

/* A share, or a file beside it. */
static gboolean share_remove(const char *path, GError **error)
{
    return g_file_test(path, G_FILE_TEST_IS_DIR) ? share_delete(path, error) : file_remove(path, error);
}

typedef struct {
    gboolean in_run_dir; /* else in state_dir */
    const char *directory;
    gboolean (*remove)(const char *path, GError **error);
} Place;

static const Place places[] = {
    {TRUE, "vm", dir_remove_tree},
    {TRUE, "share", share_remove},
    {TRUE, "netns", netns_delete},
    {TRUE, "", file_remove}, /* of file servers */
    {FALSE, "pods", dir_remove_tree},
    {FALSE, "libvirt/run/qemu", file_remove},
    {FALSE, "libvirt/log/qemu", file_remove},
};

/* NULL: it is not called as a pod's things are. The caller frees it. */
static char *id_of(const char *name)
{
    return strspn(name, "0123456789abcdef") >= ID_DIGITS ? g_strndup(name, ID_DIGITS) : NULL;
}

typedef struct {
    const Place *place;
    char *path;
    char *id;
} Candidate;

static void candidate_free(gpointer data)
{
    Candidate *candidate = data;

    g_free(candidate->path);
    g_free(candidate->id);
    g_free(candidate);
}

static void place_list(const SandboxManager *manager, const Place *place, GPtrArray *candidates)
{
    const char *base = place->in_run_dir ? manager->config.run_dir : manager->config.state_dir;
    g_autofree char *directory = g_build_filename(base, place->directory, NULL);
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        char *id = id_of(name);
        Candidate *candidate;

        if (id == NULL)
            continue;
        candidate = g_new(Candidate, 1);
        *candidate = (Candidate){place, g_build_filename(directory, name, NULL), id};
        g_ptr_array_add(candidates, candidate);
    }
}

/* Of pods, and of guests that are no pod's yet. The journal is read first: a guest that leaves it meanwhile
 * is a pod's. */
static GHashTable *known_ids(SandboxManager *manager)
{
    GHashTable *known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autofree char *journal = g_build_filename(manager->config.state_dir, "guests", NULL);
    g_autoptr(GDir) guests = g_dir_open(journal, 0, NULL);
    g_autoptr(GPtrArray) pods = NULL;
    const char *name;

    while (guests != NULL && (name = g_dir_read_name(guests)) != NULL)
        g_hash_table_add(known, g_strndup(name, ID_DIGITS));
    pods = manager_pods(manager);
    for (guint i = 0; i < pods->len; i++)
        g_hash_table_add(known, g_strndup(((Pod *)pods->pdata[i])->id, ID_DIGITS));
    return known;
}

static void candidate_remove(const Candidate *candidate)
{
    g_autoptr(GError) error = NULL;

    if (candidate->place->remove(candidate->path, &error))
        log_warning(LOG_FIELDS("path", candidate->path), "removed what belongs to no sandbox");
    else
        log_error(LOG_FIELDS("path", candidate->path), "%s", error->message);
}

GPtrArray *sandbox_collect_strays(SandboxManager *manager, gboolean dry_run)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) candidates = g_ptr_array_new_with_free_func(candidate_free);
    g_autoptr(GHashTable) known = NULL;

    for (guint i = 0; i < G_N_ELEMENTS(places); i++)
        place_list(manager, &places[i], candidates);
    /* Afterwards: who made one of them is known before, and until it has removed it. */
    known = known_ids(manager);
    for (guint i = 0; i < candidates->len; i++) {
        const Candidate *candidate = candidates->pdata[i];

        if (g_hash_table_contains(known, candidate->id))
            continue;
        g_ptr_array_add(found, g_strdup(candidate->path));
        if (!dry_run)
            candidate_remove(candidate);
    }
    return found;
}
