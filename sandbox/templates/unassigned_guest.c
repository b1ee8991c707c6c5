#include "sandbox/templates/unassigned_guest.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "sandbox/vmm/vmm_state.h"

/* Socket paths end at 107 bytes, so directories carry only the beginning of the id. */
enum { TAP_ID_DIGITS = 12, SWEEP_TIMEOUT_MS = 20 * 1000 };

#define JOURNAL "guests"

/* ---- names ---- */

char *guest_run_dir(const SandboxManager *manager, const char *id)
{
    g_autofree char *name = g_strndup(id, POD_DIRECTORY_ID_DIGITS);

    return g_build_filename(manager->config.run_dir, "vm", name, NULL);
}

char *guest_state_dir(const SandboxManager *manager, const char *id)
{
    g_autofree char *name = g_strndup(id, POD_DIRECTORY_ID_DIGITS);

    return g_build_filename(manager->config.state_dir, "pods", name, NULL);
}

static char *run_file(const SandboxManager *manager, const char *id, const char *name)
{
    g_autofree char *directory = guest_run_dir(manager, id);

    return g_build_filename(directory, name, NULL);
}

char *guest_agent_socket(const SandboxManager *manager, const char *id)
{
    return run_file(manager, id, "agent.sock");
}

char *guest_console_path(const SandboxManager *manager, const char *id)
{
    return run_file(manager, id, "console.log");
}

char *guest_disk_path(const SandboxManager *manager, const char *id)
{
    g_autofree char *directory = guest_state_dir(manager, id);

    return g_build_filename(directory, "upper.ext4", NULL);
}

char *guest_tap(const char *id)
{
    return g_strdup_printf("cv%.*s", TAP_ID_DIGITS, id);
}

/* ---- directories and the disk ---- */

static gboolean give_to_qemu(const SandboxManager *manager, const char *path, mode_t mode, GError **error)
{
    if (chown(path, manager->qemu_uid, manager->qemu_gid) != 0 || chmod(path, mode) != 0)
        return fail_errno(error, errno, "cannot give %s to QEMU's user", path);
    return TRUE;
}

gboolean guest_files_make(SandboxManager *manager, const char *id, const char *disk, GError **error)
{
    g_autofree char *empty = g_build_filename(manager->config.state_dir, "upper-template.ext4", NULL);
    g_autofree char *run_dir = guest_run_dir(manager, id);
    g_autofree char *state_dir = guest_state_dir(manager, id);
    g_autofree char *upper = guest_disk_path(manager, id);

    return dir_make(run_dir, 0750, error) && give_to_qemu(manager, run_dir, 0750, error) &&
           dir_make(state_dir, 0711, error) &&
           file_copy_sparse(disk != NULL ? disk : empty, upper, 0600, error) &&
           give_to_qemu(manager, upper, 0600, error);
}

gboolean guest_files_remove(SandboxManager *manager, const char *id, GError **error)
{
    g_autofree char *run_dir = guest_run_dir(manager, id);
    g_autofree char *state_dir = guest_state_dir(manager, id);

    return dir_remove_tree(run_dir, error) && dir_remove_tree(state_dir, error);
}

/* ---- the machine ---- */

gboolean guest_vm_create(SandboxManager *manager, const char *id, const DomainSpec *shape,
                         const Deadline *deadline, GError **error)
{
    g_autofree char *socket = guest_agent_socket(manager, id);
    g_autofree char *console = guest_console_path(manager, id);
    g_autofree char *upper = guest_disk_path(manager, id);
    g_autofree char *tap = guest_tap(id);
    g_autofree char *serial = g_strdup_printf(POD_DISK_SERIAL_FORMAT, GUEST_DISK_LUN);
    g_autofree char *generation = g_uuid_string_random();
    const DiskSpec disk = {.lun = GUEST_DISK_LUN, .path = upper, .serial = serial};
    DomainSpec spec = *shape;

    spec.name = id;
    spec.agent_socket = socket;
    spec.console_path = console;
    spec.tap = tap;
    spec.mac = GUEST_MAC;
    spec.disks = &disk;
    spec.n_disks = 1;
    spec.generation = generation;
    return tap_create(tap, manager->qemu_uid, manager->owner_tag, error) &&
           vmm_create(manager->vmm, &spec, deadline, error) &&
           (!spec.incoming || vmm_state_expect(manager->vmm, id, error));
}

gboolean guest_vm_destroy(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error)
{
    g_autofree char *tap = guest_tap(id);

    return vmm_destroy(manager->vmm, id, deadline, error) && tap_delete(tap, "", error);
}

/* ---- the journal ---- */

static char *journal_path(const SandboxManager *manager, const char *id)
{
    return g_build_filename(manager->config.state_dir, JOURNAL, id, NULL);
}

static gboolean journal_add(SandboxManager *manager, const char *id, GError **error)
{
    g_autofree char *directory = g_build_filename(manager->config.state_dir, JOURNAL, NULL);
    g_autofree char *path = journal_path(manager, id);

    return dir_make(directory, 0700, error) && file_write_atomic(path, "", 0, 0600, error);
}

void unassigned_guest_forget(SandboxManager *manager, const char *id)
{
    g_autofree char *path = journal_path(manager, id);

    unlink(path);
}

gboolean unassigned_guest_create(SandboxManager *manager, const char *id, const char *disk,
                                 const DomainSpec *shape, const Deadline *deadline, GError **error)
{
    return journal_add(manager, id, error) && guest_files_make(manager, id, disk, error) &&
           guest_vm_create(manager, id, shape, deadline, error);
}

gboolean unassigned_guest_remove(SandboxManager *manager, const char *id, const Deadline *deadline,
                                 GError **error)
{
    if (!guest_vm_destroy(manager, id, deadline, error) || !guest_files_remove(manager, id, error))
        return FALSE;
    unassigned_guest_forget(manager, id);
    return TRUE;
}

static void sweep_one(SandboxManager *manager, const char *id)
{
    Deadline deadline = deadline_in_ms(SWEEP_TIMEOUT_MS);
    g_autoptr(GError) error = NULL;

    if (id_table_lookup(manager->pods, id) != NULL)
        unassigned_guest_forget(manager, id);
    else if (!unassigned_guest_remove(manager, id, &deadline, &error))
        log_error(LOG_FIELDS("guest", id), "cannot remove a guest that is nobody's: %s", error->message);
}

void unassigned_guest_sweep(SandboxManager *manager)
{
    g_autofree char *path = g_build_filename(manager->config.state_dir, JOURNAL, NULL);
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    const char *id;

    while (directory != NULL && (id = g_dir_read_name(directory)) != NULL)
        sweep_one(manager, id);
}
