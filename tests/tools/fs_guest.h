/* SPDX-License-Identifier: Apache-2.0 */
/* Plays QEMU and the guest's file system of a share: sets up a real virtiofsd, and makes FUSE calls through
 * fsguard's relay, or directly. There is one thread, and one guest at a time.
 */
#pragma once

#include <glib.h>
#include <linux/fuse.h>
#include <sys/types.h>

#include "sandbox/vmm/fsguard/relay.h"

#define FS_GUEST_SERVER "/usr/lib/qemu/virtiofsd"
enum { FS_GUEST_DATA_MAX = 1 << 20 };

typedef struct {
    Device device;
    Relay *relay; /* NULL: the server has the rings itself */
    pid_t server;
    int server_fd;
    guint8 *memory;
    gboolean has_thread; /* another thread works for the relay */
} FsGuest;

extern FsGuest fs_guest;
extern int
    fs_guest_load; /* a saved state for the next guest (relay_state.h), whose rings are new; -1: none */

/* Starts a server for the directory, with one client: the connection. Return: its process. */
pid_t fs_server_start(const char *directory, int *ret_connection);
void fs_server_kill(void);
pid_t fs_server_child(void);

void fs_guest_start(const char *directory, gboolean relayed);
void fs_guest_end(void);
/* Stops the rings as QEMU does when it stops the guest, and starts them again where they were. bases: of two
 * rings. */
void fs_guest_stop(guint32 *ret_bases);
void fs_guest_continue(const guint32 *bases);
/* Starts a server and lets it take the place of the one that was killed. */
gboolean fs_guest_recover(const char *directory, RelayRecovery *ret_recovery);

/* Makes a request available, and does not wait. data: what is written, NULL: none. room: for the answer
 * behind its header. Return: its place. */
guint fs_submit(guint32 opcode, guint64 node, gconstpointer args, gsize n_args, gconstpointer data,
                gsize n_data, gsize room);
/* Return: where the data of the request at that place are in the guest's memory: an address of the guest. */
guint64 fs_data_address(guint place);
void fs_work(void);
gboolean fs_is_answered(guint place);
/* Waits. Return: the errno of the answer. The answer is in the guest's memory until the next request. */
int fs_await(guint place, const guint8 **ret_answer);
/* The same with submitting. */
int fs_call(guint32 opcode, guint64 node, gconstpointer args, gsize n_args, gsize room,
            const guint8 **ret_answer);
