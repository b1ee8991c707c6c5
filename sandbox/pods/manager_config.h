/* SPDX-License-Identifier: Apache-2.0 */
/* What the daemon's configuration gives to the sandbox manager. */
#pragma once

#include <glib.h>

#include "sandbox/pods/handler.h"

typedef struct {
    /* Absolute directories. state_dir persists; run_dir is cleared by a reboot. */
    const char *state_dir;
    const char *run_dir;

    const char *libvirt_uri; /* "embed" or a URI */
    const char *accelerator; /* "auto", "kvm", "tcg": which Status reports; each handler has its own */
    const char *qemu_user;
    const char *qemu_group;

    const Handler *handlers; /* the first is the default */
    gsize n_handlers;
    guint tcg_buffer_mib;
    guint passthrough_ports;          /* of each guest, for PCI devices of the node */
    const char *const *cdi_spec_dirs; /* later ones win */
    gint64 boot_timeout_ms;           /* per guest, from the start of its boot */
    gint64 agent_timeout_ms;          /* a guest whose agent is silent for so long is dead; 0: never */
    guint max_parallel_boots;         /* 0: one per CPU */
    guint vm_pool_size; /* VMs of the default size that wait for a pod, where the default handler uses
                           templates */
    gboolean vm_pool_prerestored; /* the VMs hold a restored guest that is paused */
    guint64 writable_disk_bytes;  /* size of a pod's writable disk (sparse) */

    const char *node_agent; /* the agent as a program of the node, for handlers of kind host */

    const char *cni_config_dir;
    gint64 cni_timeout_ms; /* of one ADD or DEL */
    const char *const *cni_plugin_dirs;
} SandboxManagerConfig;
