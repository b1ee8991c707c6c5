/* SPDX-License-Identifier: Apache-2.0 */
/* What a pod runs on: a VM (pod/vm_pod.c) or the node itself (pod/host_pod.c). Either way an agent serves the
 * pod's connection, and what is said to it is the same. */
#pragma once

#include "sandbox/pods/pod_request.h"
#include "sandbox/vmm/vmm.h"

typedef struct Pod Pod;
typedef struct SandboxManager SandboxManager;
struct PodChange;   /* pod/pod_vm.h */
struct PooledGuest; /* templates/vm_pool.h */
struct Template;    /* templates/template.h */

/* A layer, or another disk, that a container uses. */
typedef struct {
    guint lun;        /* of the pod's VM */
    const char *path; /* of the file on the node, borrowed from the ImageLayer; NULL: a disk of the VM */
} PodLayer;

typedef struct {
    const char *what; /* for messages: "the pod's virtual machine" */
    gboolean on_node; /* the node's own namespaces and devices can be had */

    /* Takes a VM that fits the request from the pool; its id becomes the pod's. Return: a reference to the
     * template that the VM was created for; NULL: the pool has none. */
    struct Template *(*take_pooled)(SandboxManager *manager, const PodRequest *request,
                                    struct PooledGuest *ret_guest);
    /* Everything from the network namespace to the agent's Setup. A failure undoes what it can. */
    gboolean (*start)(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error);
    /* Undoes the start, wherever it had come to: VM, network, mounts, disks. May be repeated. on_destroyed,
     * unless NULL, is called once nothing of the pod runs any more, also if the rest fails. */
    gboolean (*end)(Pod *pod, void (*on_destroyed)(Pod *), const Deadline *deadline, GError **error);
    /* Ends at once what still runs of the pod, containers included, and leaves the rest to end(). */
    gboolean (*destroy)(Pod *pod, const Deadline *deadline, GError **error);
    /* Attaches those layers (ImageLayer) that are not attached yet. *ret_layers (PodLayer) is parallel to
     * layers, and the caller's. */
    gboolean (*attach_layers)(Pod *pod, const GPtrArray *layers, const Deadline *deadline,
                              GArray **ret_layers, GError **error);
    /* The limits of the pod and its containers are about to change, or have changed: the VM follows. See
     * pod_vm_fit(). */
    gboolean (*fit)(Pod *pod, const struct PodChange *change, const char *field, gboolean may_shrink,
                    const Deadline *deadline, GError **error);
    /* Makes the directory of volumes visible in the guest, once. */
    gboolean (*attach_share)(Pod *pod, const Deadline *deadline, GError **error);
    /* Return: the process whose cost is the VM's; 0: none. */
    pid_t (*process)(Pod *pod);
    /* After a restart of the daemon: whether the pod still runs, which is watched from now on. domains:
     * VmmDomain. */
    gboolean (*adopt)(Pod *pod, const GPtrArray *domains);
    /* After a restart of the daemon: whether a disk whose row was written has been attached. */
    gboolean (*has_disk)(Pod *pod, const GPtrArray *domains, guint lun);
} PodPlatform;
