/* SPDX-License-Identifier: Apache-2.0 */
/* The VM pool: VMs of the default size that were created for a template's state, so that the start of a pod
 * need not create one. Each is a QEMU with its devices. With vm_pool_prerestored it has been restored from
 * the template, warmed up (guest_restore.h) and paused; otherwise none of the guest's memory has been
 * touched.
 *
 * The pool follows the demand (pool_demand.h), as long as a quarter of the node's memory is available. It
 * begins with as many VMs as fit into 2% of the node's memory: a node that has just booted, or joined its
 * cluster, is given many pods at once.
 *
 * Where the CNI configuration allows it, a VM has its network, too (guest_network.h).
 *
 * Ownership: the id of a VM becomes the id of the pod that takes it. The pool removes the VMs that are left
 * when it is freed; after a crash the next start removes them by the journal (unassigned_guest.h).
 *
 * Threads: any.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"
#include "sandbox/templates/guest_network.h"
#include "sandbox/templates/template_store.h"

typedef struct VmPool VmPool;

/* Starts the thread that keeps `least` VMs in the pool, and up to `most` when so many pods are started at
 * once, as soon as there is a template for them. At most POOL_DEMAND_MAX each; a `most` below `least` is as
 * large. env and templates are borrowed and must outlive the pool. */
VmPool *vm_pool_new(GuestEnvironment *env, TemplateStore *templates, guint least, guint most);
/* Removes the VMs that are left. Takes NULL. */
void vm_pool_free(VmPool *pool);

/* Work on a pod or a container, which the creation of a VM would slow down. The pool creates none while work
 * goes on that has begun and not ended, and for a moment after the last note; at most it waits for 20 s. All
 * three note the work, and take NULL. */
void vm_pool_note_work(VmPool *pool);
void vm_pool_begin_work(VmPool *pool);
void vm_pool_end_work(VmPool *pool);

/* A VM of the pool that somebody has taken. */
typedef struct PooledGuest {
    char *id;              /* becomes the pod's */
    GuestNetwork *network; /* NULL: none was made in advance */
} PooledGuest;

/* Takes a VM that was created for the template's state. network_config: the text of the network in which it
 * may be already; NULL: the pod needs an ADD of its own. Everything in *ret_guest is the caller's. Return:
 * FALSE when the pool has none that fits, or pool is NULL. */
gboolean vm_pool_take(VmPool *pool, const Template *template, const char *network_config,
                      PooledGuest *ret_guest);
/* Returns a VM that was not needed; takes ownership of what guest has. */
void vm_pool_give_back(VmPool *pool, const PooledGuest *guest, const Template *template);
/* Return: how many VMs are ready. Takes NULL, as the next two do. */
guint vm_pool_count(VmPool *pool);
/* Return: how many VMs the pool is to have now. */
guint vm_pool_size(VmPool *pool);
/* Removes what is there for the demand, and what it takes: memory, and addresses of CNI's. Does not wait for
 * it. */
void vm_pool_forget_demand(VmPool *pool);
/* Replaces the VMs that were made while another network was configured. Does not wait for it. */
void vm_pool_check_networks(VmPool *pool);
/* Replaces the VMs that no longer are what describe_default_vm() describes. Does not wait for it. */
void vm_pool_review(VmPool *pool);
