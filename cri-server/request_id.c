/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/request_id.h"

#include "common/error.h"

gboolean request_id_check(const char *id, const char *field, GError **error)
{
    return *id != '\0' || fail(error, STATUS_INVALID_ARGUMENT, "%s is empty", field);
}
