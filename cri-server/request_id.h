/* SPDX-License-Identifier: Apache-2.0 */
/* Ids in requests. */
#pragma once

#include <glib.h>

/* Errors: INVALID_ARGUMENT naming the field when the id is empty. */
gboolean request_id_check(const char *id, const char *field, GError **error);
