/* SPDX-License-Identifier: Apache-2.0 */
/* The VM pool: VMs of the default size that were created for a template's state, so that the start of a pod
 * need not create one. Each is a QEMU with its devices. With vm_pool_prerestored it has been restored from
 * the template, warmed up (guest_restore.h) and paused; otherwise none of the guest's memory has been
 * touched.
 *
 * Ownership: the id of a VM becomes the id of the pod that takes it. The pool removes the VMs that are left
 * when it is freed; after a crash the next start removes them by the journal (unassigned_guest.h).
 *
 * Threads: any.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"
#include "sandbox/templates/template_store.h"

typedef struct VmPool VmPool;

/* Starts the thread that keeps `size` VMs in the pool, as soon as there is a template for them. env and
 * templates are borrowed and must outlive the pool. */
VmPool *vm_pool_new(GuestEnvironment *env, TemplateStore *templates, guint size);
/* Removes the VMs that are left. Takes NULL. */
void vm_pool_free(VmPool *pool);

/* Return: the id of a VM that was created for the template's state, now the caller's; NULL: the pool has
 * none, or pool is NULL. */
char *vm_pool_take(VmPool *pool, const Template *template);
/* Returns a VM that was not needed; takes ownership of the id. */
void vm_pool_give_back(VmPool *pool, char *id, const Template *template);
guint vm_pool_count(VmPool *pool);
/* Replaces the VMs that no longer are what describe_default_vm() describes. Does not wait for it. */
void vm_pool_review(VmPool *pool);
