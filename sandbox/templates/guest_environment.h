/* SPDX-License-Identifier: Apache-2.0 */
/* What guests need of the daemon before a pod owns them, and the names of what belongs to one guest.
 *
 * Templates, the VM pool and unassigned guests get this environment instead of the manager of all pods, so
 * that they can be used without pods. A guest's id is the name of its domain, and every path follows from
 * it; when a pod takes the guest, the id becomes the pod's.
 *
 * Ownership: the creator of the environment owns it and everything that it points to, and frees both after
 * the last user. Threads: the environment is constant once it is initialized, except for the semaphore,
 * which is safe by itself.
 */
#pragma once

#include "common/semaphore.h"
#include "sandbox/agent/agent_calls.h"
#include "sandbox/vmm/domain_xml.h"
#include "sandbox/vmm/vmm.h"

/* The interface of every guest, in the guest and in its network namespace. */
#define GUEST_INTERFACE "eth0"
/* The interface's MAC address until Setup sets that of the network. The guest has it from its boot, and may
 * be a clone of another guest. The address is locally administered, and no frame is ever sent with it. */
#define GUEST_MAC "52:54:00:63:76:01"
#define GUEST_DISK_NAME "upper.ext4"     /* the writable disk in the state directory */
#define GUEST_DISK_LUN 0                 /* of the writable disk; layers have the numbers after it */
#define GUEST_DISK_SERIAL_FORMAT "cv-%u" /* of a disk, by its LUN */

typedef struct CniCache CniCache;
typedef struct GuestUsers GuestUsers;

/* Paths of sockets end at 107 bytes, so directories are named by the beginning of the id only. */
enum { GUEST_DIRECTORY_ID_DIGITS = 24 };

typedef struct {
    Vmm *vmm;
    AgentConnections *agents;
    Semaphore boots; /* how many guests may start at a time */

    const char *state_dir; /* persists */
    const char *run_dir;   /* is cleared by a reboot */
    const char *owner_tag; /* the owner tag of what this daemon makes on the node (owner_tag.h) */
    guint qemu_uid;        /* of the hypervisor's configured account */
    guint qemu_gid;
    GuestUsers *users;      /* one for each QEMU; NULL: all run as the user and group above (guest_user.h) */
    gint64 boot_timeout_ms; /* per guest, from the start of its boot */
    guint64 writable_disk_bytes; /* size of a guest's writable disk (sparse) */

    CniCache *networks;                 /* the CNI configuration */
    const char *const *cni_plugin_dirs; /* where its plugins are */
    /* CNI plugins that do not look at the pod, NULL-terminated (guest_network.h). */
    const char *const *prepared_plugins;

    /* The pool's VMs hold a paused guest, instead of waiting for a template's state. */
    gboolean vm_pool_prerestored;
    /* Guests that are restored from one template have its constant memory in common (template.h). */
    gboolean shares_memory;
    /* Describes the VM of a pod without limits or annotations, which the pool creates in advance. The names
     * of a guest are left out. Strings are borrowed, and live as long as the environment. Any thread. */
    gboolean (*describe_default_vm)(gpointer data, DomainSpec *ret_spec, GError **error);
    gpointer describe_default_vm_data;
} GuestEnvironment;

/* Return: a path or a name, which the caller frees. */
char *guest_run_dir(const GuestEnvironment *env, const char *id);   /* QEMU's: agent socket, console */
char *guest_state_dir(const GuestEnvironment *env, const char *id); /* writable disk */
char *guest_agent_socket(const GuestEnvironment *env, const char *id);
char *guest_console_path(const GuestEnvironment *env, const char *id);
char *guest_disk_path(const GuestEnvironment *env, const char *id);
char *guest_netns_path(const GuestEnvironment *env, const char *id); /* its network namespace */
char *guest_tap(const char *id);
