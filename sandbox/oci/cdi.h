/* Container Device Interface (https://github.com/cncf-tags/container-device-interface, SPEC.md 0.8): what a
 * device named "vendor/class=device" changes in a container, from JSON files that a device's vendor puts on
 * the node.
 *
 * Environment, mounts and device nodes become those of the CRI's configuration, where they are checked like
 * any other; hooks (programs of the node) and RDT cannot reach into a guest and are refused, additional
 * groups are not.
 */
#pragma once

#include "api.pb-c.h"
#include <glib.h>

/* directories: NULL-terminated, later ones win. Adds what config->CDI_devices ask for to config, which
 * protobuf-c has allocated. INVALID_ARGUMENT for a name or a file that is no good, NOT_FOUND for a device
 * that no file describes. */
gboolean cdi_apply(Runtime__V1__ContainerConfig *config, const char *const *directories, GError **error);

/* One file's text; name: for messages. Adds to config what device of kind ("vendor/class") asks for;
 * *ret_found: it is described here. Apart from cdi_apply() only the fuzzer calls it. */
gboolean cdi_apply_text(Runtime__V1__ContainerConfig *config, const char *name, const char *text,
                        gsize length, const char *kind, const char *device, gboolean *ret_found,
                        GError **error);
