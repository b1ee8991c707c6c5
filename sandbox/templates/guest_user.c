/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/templates/guest_user.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"

/* Which ids are in use is seen from the owners of the guests' files, so that it needs no record. */
struct GuestUsers {
    guint first;
    guint count;
    GMutex lock;
    guint next; /* the first that is tried: an id is used again late */
};

GuestUsers *guest_users_new(guint first, guint count)
{
    GuestUsers *users = NULL;

    if (count == 0)
        return NULL;
    users = g_new0(GuestUsers, 1);
    users->first = first;
    users->count = count;
    g_mutex_init(&users->lock);
    return users;
}

void guest_users_free(GuestUsers *users)
{
    if (users == NULL)
        return;
    g_mutex_clear(&users->lock);
    g_free(users);
}

static gboolean is_own(const GuestUsers *users, uid_t uid)
{
    return users != NULL && uid >= users->first && uid - users->first < users->count;
}

static void add_owner(GHashTable *owners, const char *path)
{
    struct stat status;

    if (lstat(path, &status) == 0)
        g_hash_table_add(owners, GUINT_TO_POINTER(status.st_uid));
}

/* Adds the owners of what is in a directory: of the entries, or of the file name in each. */
static gboolean add_owners(GHashTable *owners, const char *parent, const char *kind, const char *name,
                           GError **error)
{
    g_autofree char *path = g_build_filename(parent, kind, NULL);
    g_autoptr(GDir) entries = NULL;
    const char *entry;

    if (!g_file_test(path, G_FILE_TEST_IS_DIR))
        return TRUE;
    entries = g_dir_open(path, 0, error);
    while (entries != NULL && (entry = g_dir_read_name(entries)) != NULL) {
        g_autofree char *owned = g_build_filename(path, entry, name, NULL);

        add_owner(owners, owned);
    }
    return entries != NULL;
}

/* Return: FALSE when all are in use. Called with the lock held. */
static gboolean choose_locked(GuestUsers *users, GHashTable *owners, uid_t *ret_uid)
{
    for (guint i = 0; i < users->count; i++) {
        guint at = (users->next + i) % users->count;

        if (g_hash_table_contains(owners, GUINT_TO_POINTER(users->first + at)))
            continue;
        users->next = (at + 1) % users->count;
        *ret_uid = users->first + at;
        return TRUE;
    }
    return FALSE;
}

static gboolean take_locked(const GuestEnvironment *env, const char *directory, GError **error)
{
    g_autoptr(GHashTable) owners = g_hash_table_new(NULL, NULL);
    uid_t user = 0;

    /* Disks outlive the run directories when the node boots again. */
    if (!add_owners(owners, env->run_dir, "vm", NULL, error) ||
        !add_owners(owners, env->state_dir, "pods", GUEST_DISK_NAME, error))
        return FALSE;
    if (!choose_locked(env->users, owners, &user))
        return fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "all %u users for VMs are in use: raise hypervisor.vm_users", env->users->count);
    return chown(directory, user, user) == 0 ||
           fail_errno(error, errno, "cannot give %s to the user %u", directory, (guint)user);
}

gboolean guest_user_take(const GuestEnvironment *env, const char *id, GError **error)
{
    g_autofree char *directory = guest_run_dir(env, id);
    struct stat status;
    gboolean good;

    if (!dir_make(directory, 0700, error))
        return FALSE;
    if (stat(directory, &status) != 0)
        return fail_errno(error, errno, "cannot read the owner of %s", directory);
    if (is_own(env->users, status.st_uid))
        return TRUE;
    if (env->users == NULL)
        return chown(directory, env->qemu_uid, env->qemu_gid) == 0 ||
               fail_errno(error, errno, "cannot give %s to QEMU's user", directory);
    g_mutex_lock(&env->users->lock);
    good = take_locked(env, directory, error);
    g_mutex_unlock(&env->users->lock);
    return good;
}

gboolean guest_user_find(const GuestEnvironment *env, const char *id, uid_t *ret_uid, gid_t *ret_gid,
                         GError **error)
{
    g_autofree char *directory = guest_run_dir(env, id);
    struct stat status;

    if (stat(directory, &status) != 0)
        return fail_errno(error, errno, "cannot read the owner of %s", directory);
    *ret_uid = status.st_uid;
    *ret_gid = status.st_gid;
    return TRUE;
}
