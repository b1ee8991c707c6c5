/* SPDX-License-Identifier: Apache-2.0 */
/* Image configurations: JSON from a registry or an archive, checked once, here.
 *
 * Implements the OCI image specification 1.1, config.md, which Docker's image JSON agrees with.
 */
#pragma once

#include <glib.h>

enum { IMAGE_CONFIG_MAX_BYTES = 4 << 20 };

/* OCI platform of the guests. The variant may be NULL. */
typedef struct {
    const char *architecture; /* "amd64", "arm64", "arm" */
    const char *variant;      /* "v8"; NULL: the usual one */
} Platform;

/* The image configuration; absent strings are NULL, absent vectors empty but never NULL. */
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
    char **diff_ids;    /* lowest first, valid digests */
} ImageConfig;
gboolean image_config_parse(const char *data, gsize length, ImageConfig **ret_config, GError **error);
/* INVALID_ARGUMENT when the configuration is not for linux on that platform. */
gboolean image_config_check_platform(const ImageConfig *config, const Platform *platform, GError **error);
void image_config_free(ImageConfig *config); /* takes NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ImageConfig, image_config_free)
