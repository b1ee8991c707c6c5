/* SPDX-License-Identifier: Apache-2.0 */
/* Pulls an image and shows its progress. */
#pragma once

#include <stdio.h>

#include "cri-server/cli/cli.h"

typedef struct {
    const char *image;
    const char *username; /* "" when there is none */
    const char *password;
    const char *auth_file; /* read when there is no username (auth_file.h); NULL: the usual one */
    FILE *progress;        /* NULL: no progress; a terminal gets bars, another file one line per change */
} ImagePull;

/* Pulls through crivirt's own service, or through the CRI when the daemon has none. *ret_image_ref lives in
 * the arena. */
gboolean image_pull(Cli *cli, const ImagePull *pull, const char **ret_image_ref, GError **error);
