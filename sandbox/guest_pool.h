/* The pool: machines of the default shape that wait for a template's state, so that a pod's start need not
 * create one. A waiting machine is a QEMU with its devices; with waiting_machines_filled it has been given
 * the template's state, has rehearsed (guest_wake.h) and is paused, else none of the guest's memory is
 * touched.
 *
 * A machine's id becomes the id of the pod that gets it. Those that nobody took are removed when the daemon
 * ends; after a crash the next start removes them, by the journal of guest.h. Internal to this folder; any
 * thread may call.
 */
#pragma once

#include "sandbox/pod.h"
#include "sandbox/template.h"

typedef struct GuestPool GuestPool;

/* Starts the thread that keeps `size` machines waiting, as soon as there is a template for them. */
GuestPool *guest_pool_new(SandboxManager *manager, guint size);
/* Removes those that wait. Takes NULL. */
void guest_pool_free(GuestPool *pool);

/* The id of a machine that waits for that template's state, now the caller's; NULL: there is none, or no
 * pool.
 */
char *guest_pool_take(GuestPool *pool, const Template *template);
/* It was not needed; takes the id. */
void guest_pool_give_back(GuestPool *pool, char *id, const Template *template);
guint guest_pool_count(GuestPool *pool);
