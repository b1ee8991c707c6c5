/* SPDX-License-Identifier: Apache-2.0 */
/* Writes seccomp filters of the OCI runtime configuration (linux.seccomp): the profile of RuntimeDefault, and
 * profiles of the node's administrator (Localhost). Both functions write the member "seccomp" of the JSON
 * object that is open.
 *
 * In a VM pod the filter runs in the guest, and protects the guest's kernel from its containers.
 */
#pragma once

#include "common/json_writer.h"
#include <glib.h>

enum { SECCOMP_PROFILE_MAX_BYTES = 1 << 20 };

/* Writes the profile of seccomp_profile.def. capabilities (names without CAP_) allow the calls that need
 * them. architecture: the guest's, as uname -m prints it. */
void seccomp_profile_put_default(JsonWriter *json, const char *architecture, const GPtrArray *capabilities);

/* Checks a profile in the form of the OCI or of Docker (whose includes, excludes and archMap are left out),
 * and writes only what it has checked. name: for messages. Errors: INVALID_ARGUMENT with the place in the
 * profile. */
gboolean seccomp_profile_put_text(JsonWriter *json, const char *name, const char *text, gsize length,
                                  GError **error);
