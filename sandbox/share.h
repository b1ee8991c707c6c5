/* The directory that one pod's guest sees through virtiofs: the kubelet's volumes are bind-mounted into it.
 *
 * The directory is a shared mount of its own from before virtiofsd starts, or later binds would stay
 * invisible. Paths inside are the daemon's own; what is bound comes from the pod's specification.
 */
#pragma once

#include <glib.h>

/* Makes path a shared mount; an existing one is left as it is. */
gboolean share_create(const char *path, GError **error);

/* Binds host_path (symbolic links followed; a missing one becomes a directory) with what is mounted below it
 * to path/container_id/index. *ret_name is "container_id/index". */
gboolean share_bind(const char *path, const char *container_id, guint index, const char *host_path,
                    char **ret_name, GError **error);

/* Takes a container's binds away; unknown is success. */
gboolean share_unbind(const char *path, const char *container_id, GError **error);

/* All of it; a missing one is success. */
gboolean share_delete(const char *path, GError **error);
