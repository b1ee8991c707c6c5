/* SPDX-License-Identifier: Apache-2.0 */
/* Container Device Interface (https://github.com/cncf-tags/container-device-interface, SPEC.md 0.8): applies
 * the changes that a device named "vendor/class=device" makes to a container. JSON files of the device's
 * vendor on the node describe them.
 *
 * Environment, mounts and device nodes are added to the CRI's configuration, where they are checked like any
 * other. Hooks (programs of the node), RDT and additional groups have no effect in a guest, and are refused.
 * Threads: any.
 */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* Adds the changes of config->CDI_devices to config, which protobuf-c has allocated. directories:
 * NULL-terminated; later ones win. Errors: INVALID_ARGUMENT for a wrong name or file, NOT_FOUND for a device
 * that no file describes. */
gboolean cdi_apply(Runtime__V1__ContainerConfig *config, const char *const *directories, GError **error);

typedef struct {
    const char *kind; /* "vendor/class" */
    const char *name; /* "device" */
} CdiDevice;

typedef struct {
    const char *name; /* for messages */
    const char *text;
    gsize length;
} CdiFile;

/* Adds the changes of one device to config when the file describes the device; *ret_found becomes TRUE then.
 * For cdi_apply() and the fuzz target. */
gboolean cdi_apply_file(Runtime__V1__ContainerConfig *config, const CdiFile *file, const CdiDevice *device,
                        gboolean *ret_found, GError **error);
