/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/media_type.h"

#include <string.h>

#include "common/error.h"

/* Return: the type in small letters, without parameters; "" when there is none. */
static char *bare_type(const char *media_type)
{
    return media_type != NULL ? g_ascii_strdown(media_type, (gssize)strcspn(media_type, "; \t"))
                              : g_strdup("");
}

DocumentType media_type_document(const char *media_type)
{
    static const struct {
        const char *name;
        DocumentType type;
    } types[] = {
        {MEDIA_TYPE_OCI_INDEX, DOCUMENT_INDEX},
        {MEDIA_TYPE_DOCKER_LIST, DOCUMENT_INDEX},
        {MEDIA_TYPE_OCI_MANIFEST, DOCUMENT_IMAGE},
        {MEDIA_TYPE_DOCKER_MANIFEST, DOCUMENT_IMAGE},
        {"application/vnd.docker.distribution.manifest.v1+json", DOCUMENT_SCHEMA_1},
        {"application/vnd.docker.distribution.manifest.v1+prettyjws", DOCUMENT_SCHEMA_1},
    };
    g_autofree char *bare = bare_type(media_type);

    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        if (g_str_equal(bare, types[i].name))
            return types[i].type;
    return DOCUMENT_UNKNOWN;
}

/* The beginnings of all layer types: current ones, foreign ones, and those of older versions of Docker. */
static gboolean is_layer_type(const char *bare)
{
    static const char *const exact[] = {"",
                                        "application/octet-stream",
                                        "application/gzip",
                                        "application/x-gzip",
                                        "application/x-tar",
                                        "application/tar",
                                        "application/tar+gzip",
                                        "application/x-tgz",
                                        "application/zstd",
                                        NULL};
    static const char *const beginnings[] = {
        "application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.",
        "application/vnd.docker.container.image.rootfs.", "application/vnd.docker.image.layer."};

    if (g_strv_contains(exact, bare))
        return TRUE;
    for (gsize i = 0; i < G_N_ELEMENTS(beginnings); i++)
        if (g_str_has_prefix(bare, beginnings[i]))
            return TRUE;
    return FALSE;
}

gboolean media_type_layer(const char *media_type, LayerFormat *ret_format, GError **error)
{
    g_autofree char *bare = bare_type(media_type);

    if (strstr(bare, "+encrypted") != NULL)
        return fail(error, STATUS_UNIMPLEMENTED, "encrypted layers are not supported");
    if (!is_layer_type(bare))
        return fail(error, STATUS_UNIMPLEMENTED, "layers of type \"%.120s\" are not supported", media_type);
    if (g_str_has_suffix(bare, "zstd"))
        *ret_format = LAYER_TAR_ZSTD;
    else if (g_str_has_suffix(bare, "gzip"))
        *ret_format = LAYER_TAR_GZIP;
    else if (g_str_has_suffix(bare, "tar"))
        *ret_format = LAYER_TAR;
    else
        *ret_format = LAYER_ANY;
    return TRUE;
}

gboolean media_type_check_config(const char *media_type, GError **error)
{
    /* The last four are what older versions of Docker and registries wrote for an image's configuration. */
    static const char *const types[] = {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
        "application/octet-stream",
        "application/json",
        "text/html",
        "",
        NULL,
    };
    g_autofree char *bare = bare_type(media_type);

    if (g_strv_contains(types, bare))
        return TRUE;
    return fail(error, STATUS_UNIMPLEMENTED, "this is no container image but \"%.120s\"", media_type);
}
