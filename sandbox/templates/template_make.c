/* SPDX-License-Identifier: Apache-2.0 */
/* Creates a template: a guest of that size boots until its agent answers, and is saved.
 *
 * The work gives way to that of pods: its QEMU runs at the lowest priority, and takes no place in the queue
 * of guests that boot.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/child.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/ids.h"
#include "common/log.h"
#include "sandbox/templates/guest_restore.h"
#include "sandbox/templates/template_store.h"
#include "sandbox/templates/unassigned_guest.h"
#include "sandbox/vmm/vmm_memory.h"
#include "sandbox/vmm/vmm_state.h"

enum { BOOT_TIMEOUT_FACTOR = 10, SAVE_TIMEOUT_MS = 5 * 60 * 1000, REMOVE_TIMEOUT_MS = 30 * 1000 };

/* Only there an address in the guest is the place in its memory (below 2 GiB). */
#ifdef __x86_64__
enum { SHARES_CONSTANT = 1 };
#else
enum { SHARES_CONSTANT = 0 };
#endif

/* ---- the guest ---- */

static MemoryPart part_of(const Crivirt__Agent__V1__MemoryRange *range)
{
    return (MemoryPart){range->address, range->address + range->bytes};
}

/* The agent's word is only as good as the guest: a template that says something else than whole pages of its
 * memory is refused when it is opened (memory_parts_parse()). */
static char *constant_text(const AgentPrepareResponse *prepared)
{
    g_autoptr(GArray) parts = g_array_new(FALSE, FALSE, sizeof(MemoryPart));

    for (size_t i = 0; SHARES_CONSTANT && i < prepared->n_constant; i++) {
        const MemoryPart part = part_of(prepared->constant[i]);

        g_array_append_val(parts, part);
    }
    return memory_parts_format(parts);
}

/* data: the directory of the template, which gets the list of the constant memory. */
static gboolean guest_prepare(AgentConnection *agent, gpointer data, const Deadline *deadline, GError **error)
{
    Crivirt__Agent__V1__PrepareRequest prepare = CRIVIRT__AGENT__V1__PREPARE_REQUEST__INIT;
    Crivirt__Agent__V1__Disk disk = CRIVIRT__AGENT__V1__DISK__INIT;
    g_autofree char *serial = g_strdup_printf(GUEST_DISK_SERIAL_FORMAT, GUEST_DISK_LUN);
    g_autofree char *path = g_build_filename(data, TEMPLATE_CONSTANT, NULL);
    g_autoptr(AgentPrepareResponse) prepared = NULL;
    g_autofree char *text = NULL;

    disk.lun = GUEST_DISK_LUN;
    disk.serial = serial;
    prepare.writable_disk = &disk;
    if (!agent_prepare(agent, &prepare, deadline, &prepared, error))
        return FALSE;
    text = constant_text(prepared);
    return file_write_atomic(path, text, strlen(text), 0600, error);
}

static gboolean guest_boot(const GuestEnvironment *env, const char *id, const DomainSpec *spec,
                           char *directory, const Deadline *deadline, GError **error)
{
    Deadline boot = deadline_sooner(deadline, env->boot_timeout_ms * BOOT_TIMEOUT_FACTOR);

    if (!unassigned_guest_create(env, id, NULL, spec, &boot, error))
        return FALSE;
    child_adjust(vmm_pid(env->vmm, id), CHILD_TEMPLATE_QEMU, 0);
    return guest_run_briefly(env, id, guest_prepare, directory, &boot, error);
}

static int template_file_make(const char *directory, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        fail_errno(error, errno, "cannot create %s", path);
    return fd;
}

static gboolean guest_save(const GuestEnvironment *env, const char *id, const char *directory,
                           const Deadline *deadline, GError **error)
{
    Deadline bounded = deadline_sooner(deadline, SAVE_TIMEOUT_MS);
    g_autofree char *upper = guest_disk_path(env, id);
    g_autofree char *disk = g_build_filename(directory, TEMPLATE_DISK, NULL);
    int ram = template_file_make(directory, TEMPLATE_RAM, error);
    int devices = ram >= 0 ? template_file_make(directory, TEMPLATE_DEVICES, error) : -1;
    gboolean saved = devices >= 0 && vmm_state_save(env->vmm, id, ram, devices, &bounded, error);

    if (ram >= 0)
        close(ram);
    if (devices >= 0)
        close(devices);
    return saved && file_copy_sparse(upper, disk, 0600, NULL, error);
}

static void guest_remove_saved(const GuestEnvironment *env, const char *id)
{
    Deadline deadline = deadline_in_ms(REMOVE_TIMEOUT_MS);
    g_autoptr(GError) error = NULL;

    if (!unassigned_guest_remove(env, id, &deadline, &error))
        log_error(LOG_FIELDS("guest", id), "cannot remove the guest that a template was created from: %s",
                  error->message);
}

/* ---- the template ---- */

static gboolean template_publish(const char *unfinished, const char *directory, GError **error)
{
    if (!dir_remove_tree(directory, error))
        return FALSE;
    return rename(unfinished, directory) == 0 || fail_errno(error, errno, "cannot rename %s", unfinished);
}

gboolean template_make(const GuestEnvironment *env, const DomainSpec *spec, const char *const *inputs,
                       const char *directory, GCancellable *cancellable, GError **error)
{
    g_autofree char *id = id_new();
    g_autofree char *unfinished = g_strconcat(directory, TEMPLATE_UNFINISHED_SUFFIX, NULL);
    const Deadline deadline = {.at_us = G_MAXINT64, .cancellable = cancellable};
    gboolean made;

    if (!dir_remove_tree(unfinished, error) || !dir_make(unfinished, 0700, error))
        return FALSE;
    made = guest_boot(env, id, spec, unfinished, &deadline, error) &&
           guest_save(env, id, unfinished, &deadline, error);
    guest_remove_saved(env, id);
    made = made && template_seal(unfinished, inputs, error) && template_publish(unfinished, directory, error);
    if (!made)
        dir_remove_tree(unfinished, NULL);
    return made;
}
