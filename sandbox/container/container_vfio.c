/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/container/container_vfio.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/error.h"
#include "common/semaphore.h"
#include "sandbox/host/vfio.h"
#include "sandbox/pods/container.h"

/* QEMU opens the group's device file itself. It does not run as root, so its user becomes the owner of the
 * file. */
static gboolean vfio_group_give_to_qemu(const Pod *pod, const char *path, GError **error)
{
    uid_t uid;
    gid_t gid;

    if (!vmm_user(pod->manager->vmm, pod->id, &uid, &gid, error))
        return FALSE;
    if (chown(path, uid, gid) != 0)
        return fail_errno(error, errno, "cannot give %s to QEMU's user", path);
    return TRUE;
}

static gboolean vfio_group_attach_in_job(Pod *pod, const char *path, guint group, GError **error)
{
    g_autoptr(GArray) devices = NULL;

    if (!vfio_group_find("/sys", group, &devices, error))
        return FALSE;
    if (pod->manager->settings->guest.passthrough_ports == 0)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "guests have no PCIe ports for devices of the node: set guest.passthrough_ports");
    if (!vfio_group_give_to_qemu(pod, path, error))
        return FALSE;
    for (guint i = 0; i < devices->len; i++)
        if (!vmm_attach_pci(pod->manager->vmm, pod->id, &g_array_index(devices, PciAddress, i), error))
            return FALSE;
    return TRUE;
}

gboolean container_vfio_attach(Container *container, const Deadline *deadline, GError **error)
{
    Pod *pod = container->pod;

    for (size_t i = 0; !pod->platform->on_node && i < container->config->n_devices; i++) {
        const char *path = container->config->devices[i]->host_path;
        gboolean good;
        guint group;

        if (!vfio_path_parse(path, &group))
            continue;
        if (!semaphore_acquire(&pod->disk_job, deadline, "waiting to attach devices", error))
            return FALSE;
        good = vfio_group_attach_in_job(pod, path, group, error);
        semaphore_release(&pod->disk_job);
        if (!good) {
            g_prefix_error(error, "config.devices: %s: ", path);
            return FALSE;
        }
    }
    return TRUE;
}
