/* SPDX-License-Identifier: Apache-2.0 */
/* Device files of this node for the containers of host pods. Threads: any. */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

typedef struct {
    char *path; /* in the container */
    char type;  /* 'b' or 'c' */
    guint major;
    guint minor;
    guint mode; /* permission bits */
    guint uid;
    guint gid;
    char *access; /* of "rwm" */
} NodeDevice;

/* Collects the devices of config; a directory stands for all devices in it. A privileged container gets all
 * devices of the node as well. The caller frees the array, which owns its elements (NodeDevice). Errors:
 * NOT_FOUND and INVALID_ARGUMENT, with the path. */
gboolean node_devices_collect(const Runtime__V1__ContainerConfig *config, GArray **ret_devices,
                              GError **error);
