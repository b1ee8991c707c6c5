/* The directory that one pod's guest sees through virtiofs: the kubelet's volumes are bind-mounted into it.
 *
 * The directory is a shared mount of its own from before virtiofsd starts, or later binds would stay
 * invisible. Paths inside are the daemon's own; what is bound comes from the pod's specification.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Makes path a shared mount; an existing one is left as it is. */
gboolean share_create(const char *path, GError **error);

/* Who serves the share: volumes are then bound in its mount namespace and nowhere else. Kept beside path, so
 * that a daemon that comes later knows it. Its command line ends one of its words in path. root is where the
 * share is for it: "" where that is all it sees. */
gboolean share_set_server(const char *path, pid_t server, const char *root, GError **error);

/* It, while it lives; 0: there is none (any more). */
pid_t share_server(const char *path);

typedef struct {
    const char *host_path; /* symbolic links are followed; a missing one becomes a directory */
    gboolean readonly;     /* refused here already, whatever the guest does */
    gboolean recursive;    /* readonly: also for what is mounted below host_path */
    gboolean follow;       /* mounts that the node makes below host_path later appear in the share too */
    gboolean share; /* and the other way round: FAILED_PRECONDITION where the node does not share mounts */
    int userns_fd;  /* whose ids the owners are shown in; -1: the node's */
    /* One bind for all containers that have it like this: only then are its files the same ones to the guest,
     * which sockets, FIFOs, shared mappings and inotify between containers need. Nothing is mounted below
     * host_path. */
    gboolean common;
} ShareVolume;

/* Binds a volume with what is mounted below it to path/container_id/index, or to path/v/KEY where it is
 * common, unless it is there. *ret_name is what follows path/; *ret_nested: it is read-only, and there are
 * mounts below host_path. UNAVAILABLE when the file server is gone, FAILED_PRECONDITION when ids cannot be
 * mapped on its file system. */
gboolean share_bind(const char *path, const char *container_id, guint index, const ShareVolume *volume,
                    char **ret_name, gboolean *ret_nested, GError **error);

/* Takes a container's binds away, common ones with their last container; unknown is success. Not at the same
 * time as share_bind(). */
gboolean share_unbind(const char *path, const char *container_id, GError **error);

/* All of it; a missing one is success. */
gboolean share_delete(const char *path, GError **error);
