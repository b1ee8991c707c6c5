/* The pool: machines of the default shape that wait for a template's state, so that a pod's start need not
 * create one. A waiting machine is a QEMU with its devices; with vm_pool_prerestored it has been given
 * the template's state, has rehearsed (guest_wake.h) and is paused, else none of the guest's memory is
 * touched.
 *
 * A machine's id becomes the id of the pod that gets it. Those that nobody took are removed when the daemon
 * ends; after a crash the next start removes them, by the journal of guest.h. Internal to this folder; any
 * thread may call.
 */
#pragma once

#include "sandbox/templates/guest_environment.h"
#include "sandbox/templates/template_store.h"

typedef struct VmPool VmPool;

/* Starts the thread that keeps `size` VMs in the pool, as soon as there is a template for them. env and
 * templates are borrowed and must outlive the pool. */
VmPool *vm_pool_new(GuestEnvironment *env, TemplateStore *templates, guint size);
/* Removes those that wait. Takes NULL. */
void vm_pool_free(VmPool *pool);

/* The id of a machine that waits for that template's state, now the caller's; NULL: there is none, or no
 * pool.
 */
char *vm_pool_take(VmPool *pool, const Template *template);
/* It was not needed; takes the id. */
void vm_pool_give_back(VmPool *pool, char *id, const Template *template);
guint vm_pool_count(VmPool *pool);
