/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/cpu_map.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <sched.h>
#include <unistd.h>

#include "common/bundle.h"
#include "common/error.h"
#include "sandbox/host/accelerator.h"
#include "sandbox/vmm/vmm_private.h"

typedef struct {
    virConnectPtr connection;
    gboolean good;
    GError *error;
} Load;

/* The new root directory is that of this thread, which ends here. */
static gpointer load_thread(gpointer data)
{
    Load *load = data;

    if (unshare(CLONE_FS) != 0 || chroot(bundle_root()) != 0)
        fail_errno(&load->error, errno, "cannot enter %s to read libvirt's models of CPUs", bundle_root());
    else if (virConnectGetCPUModelNames(load->connection, accelerator_architecture(), NULL, 0) < 0)
        vmm_fail(&load->error, "cannot read libvirt's models of CPUs in the bundle");
    else
        load->good = TRUE;
    return NULL;
}

gboolean cpu_map_load(GError **error)
{
    Load load = {0};

    if (bundle_root() == NULL)
        return TRUE;
    /* libvirt's driver for tests answers from memory, and starts nothing. */
    load.connection = virConnectOpen("test:///default");
    if (load.connection == NULL)
        return vmm_fail(error, "cannot open libvirt to read its models of CPUs");
    g_thread_join(g_thread_new("cpu-map", load_thread, &load));
    virConnectClose(load.connection);
    if (!load.good)
        g_propagate_error(error, load.error);
    return load.good;
}
