/* Pulling an image with its progress shown. */
#pragma once

#include <stdio.h>

#include "cri-server/cli/cli.h"

typedef struct {
    const char *image;
    const char *username; /* "" when there is none */
    const char *password;
    FILE *progress; /* NULL: quiet; bars when it is a terminal, else a line per change */
} ImagePull;

/* *ret_image_ref lives in the arena. A daemon without crivirt's own service is asked through the CRI. */
gboolean image_pull(Cli *cli, const ImagePull *pull, const char **ret_image_ref, GError **error);
