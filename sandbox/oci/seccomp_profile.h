/* SPDX-License-Identifier: Apache-2.0 */
/* Seccomp filters as the OCI runtime configuration has them (linux.seccomp): the profile for RuntimeDefault,
 * and profiles of the node's administrator (Localhost). Both write the member "seccomp" of the JSON object
 * that is open.
 *
 * The filter runs inside the guest: it protects the guest's kernel from its containers. The node's kernel is
 * behind the virtual machine.
 */
#pragma once

#include "common/json_writer.h"
#include <glib.h>

enum { SECCOMP_PROFILE_MAX_BYTES = 1 << 20 };

/* The rows of seccomp_profile.def; capabilities (names without CAP_) let more through, as the container could
 * not use them otherwise. architecture: the guest's, as uname says it. */
void seccomp_profile_put_default(JsonWriter *json, const char *architecture, const GPtrArray *capabilities);

/* A profile in the OCI's form or Docker's (whose includes, excludes and archMap are left out): decoded,
 * checked, and written again, so that nothing else gets through. name: for the messages. INVALID_ARGUMENT
 * says what is wrong. */
gboolean seccomp_profile_put_text(JsonWriter *json, const char *name, const char *text, gsize length,
                                  GError **error);
