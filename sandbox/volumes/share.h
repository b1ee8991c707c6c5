/* SPDX-License-Identifier: Apache-2.0 */
/* The share: the directory that a pod's guest sees through virtiofs. Volumes are bind-mounted into it.
 *
 * The directory is a shared mount of its own before virtiofsd starts; otherwise virtiofsd would not see later
 * binds. Its root is read-only there; the daemon makes mount points through a mount of its own, by
 * descriptors, and follows no link. Names in the share are the daemon's; the sources come from the pod's
 * specification. Threads: any, but one call for a share at a time.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Makes path a shared mount, whose root is read-only for the guest: only volumes are writable. */
gboolean share_create(const char *path, GError **error);

/* Records the file server of the share: from now on volumes are bound in its mount namespace only. The record
 * is a file beside path, for a later daemon. An argument of the server's command line ends with path. root is
 * the path of the share in the server's namespace: "" where the share is all that the server sees. */
gboolean share_set_server(const char *path, pid_t server, const char *root, GError **error);

/* Return: the process of the file server; 0: there is no record of one, or it has ended. */
pid_t share_server(const char *path);

typedef struct {
    const char *host_path; /* symbolic links are followed; a missing one becomes a directory */
    gboolean readonly;     /* the node refuses writes, whatever the guest does */
    gboolean confined;     /* no device files and no setuid programs: for what only a guest uses */
    gboolean recursive;    /* readonly holds also for mounts below host_path */
    gboolean follow;       /* mounts that are made below host_path later appear in the share, too */
    gboolean share;        /* mounts propagate in both directions; needs a shared mount on the node */
    int userns_fd;         /* the user namespace to which owners are mapped; -1: none */
    /* One bind for all containers with the same properties: only then the guest sees the same files, which
     * sockets, FIFOs, shared mappings and inotify between containers need. Nothing may be mounted below
     * host_path. */
    gboolean common;
} ShareVolume;

typedef struct {
    char *name;      /* of the bind below the share; the caller frees it */
    gboolean nested; /* the volume is read-only, and there are mounts below host_path */
} ShareBind;

/* Binds a volume, with the mounts below it, to path/container_id/index, or to path/v/KEY when it is common
 * and not bound yet. A missing host_path is made as a directory. Errors: UNAVAILABLE when the file server has
 * ended; FAILED_PRECONDITION when owners cannot be mapped on the volume's file system, or the node does not
 * share the mount. */
gboolean share_bind(const char *path, const char *container_id, guint index, const ShareVolume *volume,
                    ShareBind *ret_bind, GError **error);

/* Return: the name of that bind of a container, which the caller frees; NULL: it has none. */
char *share_bind_name(const char *path, const char *container_id, guint index);

/* Binds a volume by a name that share_bind() has given it in another pod, for a guest that was saved there. A
 * bind of that name is success. share_bind() gives later containers that name for a common volume. Errors
 * also: DATA_LOSS for a name that share_bind() does not give. */
gboolean share_bind_again(const char *path, const char *container_id, guint index, const char *name,
                          const ShareVolume *volume, GError **error);

/* Binds for a new file server what is bound for one that has died, whose mount namespace the descriptor is;
 * it may come from an untrusted process. The caller records the server then. */
gboolean share_copy_binds(int namespace_fd, pid_t server, GError **error);

/* Removes the binds of a container; a common bind is removed with its last container. An unknown container is
 * success. */
gboolean share_unbind(const char *path, const char *container_id, GError **error);

/* Removes the share with all binds. A missing share is success. */
gboolean share_delete(const char *path, GError **error);
