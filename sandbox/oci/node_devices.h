/* SPDX-License-Identifier: Apache-2.0 */
/* Device files of this node for the containers of pods that run on it. */
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

/* Those that config asks for, a directory standing for all that is in it; of a privileged container all of
 * the node's as well. Elements are NodeDevice, freed by the array. NOT_FOUND, INVALID_ARGUMENT naming the
 * path. */
gboolean node_devices_collect(const Runtime__V1__ContainerConfig *config, GArray **ret_devices,
                              GError **error);
