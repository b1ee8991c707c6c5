/* SPDX-License-Identifier: Apache-2.0 */
/* Image configurations: JSON from a registry or an archive, checked once, here.
 *
 * Implements the OCI image specification 1.1, config.md, which Docker's image JSON agrees with. Reads what
 * tools really write, as containerd does: members may be left out, null or empty, and their names are
 * compared without regard to case. Digests of layers are checked strictly.
 */
#pragma once

#include "image-service/content/platform.h"

enum { IMAGE_CONFIG_MAX_BYTES = 4 << 20 };

/* The image configuration; absent strings are NULL, absent vectors are empty, never NULL. */
typedef struct {
    char *architecture;
    char *os;
    char *variant;
    char *user;
    char *working_dir;
    char *stop_signal;
    char **entrypoint;
    char **cmd;
    char **environment;
    char **volumes;     /* sorted */
    GHashTable *labels; /* char * to char * */
    char **diff_ids;    /* lowest first, valid digests; none when the image has no layers */
} ImageConfig;

/* Errors: INVALID_ARGUMENT, with the path of the member that is wrong. */
gboolean image_config_parse(const char *data, gsize length, ImageConfig **ret_config, GError **error);
/* Return: whether the image runs on that platform; a configuration that names no platform is taken for one
 * that does. INVALID_ARGUMENT otherwise. */
gboolean image_config_check_platform(const ImageConfig *config, const Platform *platform, GError **error);
void image_config_free(ImageConfig *config); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageConfig, image_config_free)
