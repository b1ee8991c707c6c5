/* A user namespace with a pod's id mappings, for id-mapped mounts (mount_setattr(2)). */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* A descriptor of the namespace, which lives as long as it. The mappings have been checked
 * (oci_userns_check()). FAILED_PRECONDITION where the node does not allow user namespaces. */
gboolean userns_open(const Runtime__V1__UserNamespace *mappings, int *ret_fd, GError **error);
