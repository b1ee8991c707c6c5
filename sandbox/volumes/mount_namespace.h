/* Mounting in another process's mount namespace. A thread that lives as long as the call enters it; the
 * caller's own namespace and directory are untouched. */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Moves a detached mount (open_tree(2)) to path, as pid sees paths. pid 0: the caller's own namespace.
 * NOT_FOUND when the process is gone. */
gboolean mount_namespace_move(pid_t pid, int tree, const char *path, GError **error);
/* Detaches what is mounted at path with what is below it; that nothing is, or that pid is gone, is success.
 */
gboolean mount_namespace_detach(pid_t pid, const char *path, GError **error);
