/* SPDX-License-Identifier: Apache-2.0 */
/* What a restored pod gets of the node. A checkpoint says itself which paths of the node its containers have
 * as volumes and devices, so whoever made it has chosen them, and whoever restores it has to allow them. */
#pragma once

#include "api.pb-c.h"

#include <glib.h>

/* volumes: words OLD=NEW; each gives what the request has from OLD the path NEW, which is made absolute, and
 * allows it. allow_all: allows the other paths as well. The request is protobuf-c's by malloc(). Return: TRUE
 * when every path is allowed; FALSE with a usage error for a wrong word and an OLD that the request does not
 * have, or with FAILED_PRECONDITION and the list of paths that are not allowed, and what for. */
gboolean restore_paths_apply(Runtime__V1__RestorePodRequest *request, const char *const *volumes,
                             gboolean allow_all, GError **error);
