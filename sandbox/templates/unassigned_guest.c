/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/templates/unassigned_guest.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/child.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "sandbox/templates/guest_journal.h"
#include "sandbox/templates/guest_network.h"
#include "sandbox/templates/guest_user.h"
#include "sandbox/vmm/vmm_state.h"

enum { SWEEP_TIMEOUT_MS = 20 * 1000 };

/* ---- directories and the disk ---- */

static gboolean give_to_qemu(const GuestEnvironment *env, const char *id, const char *path, GError **error)
{
    uid_t uid;
    gid_t gid;

    if (!guest_user_find(env, id, &uid, &gid, error))
        return FALSE;
    if (chown(path, uid, gid) != 0 || chmod(path, 0600) != 0)
        return fail_errno(error, errno, "cannot give %s to QEMU's user", path);
    return TRUE;
}

gboolean guest_files_make(const GuestEnvironment *env, const char *id, const char *disk, GError **error)
{
    g_autofree char *empty = g_build_filename(env->state_dir, "upper-template.ext4", NULL);
    g_autofree char *state_dir = guest_state_dir(env, id);
    g_autofree char *upper = guest_disk_path(env, id);

    return guest_user_take(env, id, error) && dir_make(state_dir, 0711, error) &&
           file_copy_sparse(disk != NULL ? disk : empty, upper, 0600, NULL, error) &&
           give_to_qemu(env, id, upper, error);
}

gboolean guest_files_remove(const GuestEnvironment *env, const char *id, GError **error)
{
    g_autofree char *run_dir = guest_run_dir(env, id);
    g_autofree char *state_dir = guest_state_dir(env, id);

    /* The user is free when the run directory is gone. */
    return dir_remove_tree(state_dir, error) && dir_remove_tree(run_dir, error);
}

/* ---- the VM ---- */

gboolean guest_vm_create(const GuestEnvironment *env, const char *id, const DomainSpec *spec,
                         const Deadline *deadline, GError **error)
{
    g_autofree char *socket = guest_agent_socket(env, id);
    g_autofree char *console = guest_console_path(env, id);
    g_autofree char *upper = guest_disk_path(env, id);
    g_autofree char *tap = guest_tap(id);
    g_autofree char *serial = g_strdup_printf(GUEST_DISK_SERIAL_FORMAT, GUEST_DISK_LUN);
    g_autofree char *generation = g_uuid_string_random();
    const DiskSpec disk = {.lun = GUEST_DISK_LUN, .path = upper, .serial = serial};
    DomainSpec named = *spec;
    uid_t uid;
    gid_t gid;

    if (!guest_user_find(env, id, &uid, &gid, error))
        return FALSE;
    named.user = uid != env->qemu_uid ? uid : 0;
    named.name = id;
    named.agent_socket = socket;
    named.console_path = console;
    named.tap = tap;
    named.mac = GUEST_MAC;
    named.disks = &disk;
    named.n_disks = 1;
    named.generation = generation;
    return tap_create(tap, uid, env->owner_tag, error) && vmm_create(env->vmm, &named, deadline, error) &&
           (!named.incoming || vmm_state_expect(env->vmm, id, error));
}

gboolean guest_vm_destroy(const GuestEnvironment *env, const char *id, const Deadline *deadline,
                          GError **error)
{
    g_autofree char *tap = guest_tap(id);

    return vmm_destroy(env->vmm, id, deadline, error) && tap_delete(tap, "", error);
}

/* ---- guests that are in the journal ---- */

gboolean unassigned_guest_create(const GuestEnvironment *env, const char *id, const char *disk,
                                 const DomainSpec *spec, const Deadline *deadline, GError **error)
{
    if (!guest_journal_write(env, id, "", 0, error) || !guest_files_make(env, id, disk, error) ||
        !guest_vm_create(env, id, spec, deadline, error))
        return FALSE;
    child_adjust(vmm_pid(env->vmm, id), CHILD_POOL_QEMU, 0);
    return TRUE;
}

gboolean unassigned_guest_remove(const GuestEnvironment *env, const char *id, const Deadline *deadline,
                                 GError **error)
{
    if (!guest_vm_destroy(env, id, deadline, error) || !guest_files_remove(env, id, error) ||
        !guest_network_remove(env, id, deadline, error))
        return FALSE;
    guest_journal_forget(env, id);
    return TRUE;
}

typedef struct {
    const GuestEnvironment *env;
    UnassignedGuestIsPod *is_pod;
    gconstpointer data;
} Sweep;

static void guest_sweep(const char *id, gpointer data)
{
    const Sweep *sweep = data;
    Deadline deadline = deadline_in_ms(SWEEP_TIMEOUT_MS);
    g_autoptr(GError) error = NULL;

    if (sweep->is_pod(id, sweep->data)) {
        guest_journal_forget(sweep->env, id);
        return;
    }
    cni_end_orphans(id);
    if (!unassigned_guest_remove(sweep->env, id, &deadline, &error))
        log_error(LOG_FIELDS("guest", id), "cannot remove an unassigned guest of an earlier daemon: %s",
                  error->message);
}

void unassigned_guest_sweep(const GuestEnvironment *env, UnassignedGuestIsPod *is_pod, gconstpointer data)
{
    Sweep sweep = {env, is_pod, data};

    guest_journal_each(env, guest_sweep, &sweep);
}
