/* SPDX-License-Identifier: Apache-2.0 */
/* Makes a user namespace with a pod's id mappings, for id-mapped mounts (mount_setattr(2)). Threads: any. */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* Opens a descriptor, which the caller closes; the namespace exists as long as it. oci_userns_check() has
 * accepted the mappings. Errors: FAILED_PRECONDITION when the node does not allow user namespaces. */
gboolean userns_open(const Runtime__V1__UserNamespace *mappings, int *ret_fd, GError **error);
