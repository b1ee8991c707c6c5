/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "image-service/layers/erofs_format.h"

/* XATTR_NAME_MAX of the kernel, the prefix included. */
enum { MAX_NAME_BYTES = 255 };

static const struct {
    const char *prefix;
    guint8 index;
    gboolean whole; /* the prefix is the whole name */
} xattr_prefixes[] = {
    {"user.", EROFS_XATTR_USER, FALSE},
    {"system.posix_acl_access", EROFS_XATTR_ACL_ACCESS, TRUE},
    {"system.posix_acl_default", EROFS_XATTR_ACL_DEFAULT, TRUE},
    {"trusted.", EROFS_XATTR_TRUSTED, FALSE},
    {"security.", EROFS_XATTR_SECURITY, FALSE},
};

static gboolean xattr_split(const char *name, guint8 *ret_index, const char **ret_suffix)
{
    for (gsize i = 0; i < G_N_ELEMENTS(xattr_prefixes); i++) {
        const char *prefix = xattr_prefixes[i].prefix;

        if (!g_str_has_prefix(name, prefix) || xattr_prefixes[i].whole != (name[strlen(prefix)] == '\0'))
            continue;
        *ret_index = xattr_prefixes[i].index;
        *ret_suffix = name + strlen(prefix);
        return TRUE;
    }
    return FALSE;
}

gboolean erofs_xattr_add(GByteArray **xattrs, const char *name, const void *value, gsize length,
                         GError **error)
{
    ErofsXattrEntry entry = {0};
    const char *suffix;
    gsize padded;
    gsize old_length = *xattrs != NULL ? (*xattrs)->len : 0;

    if (!xattr_split(name, &entry.name_index, &suffix))
        return fail(error, STATUS_INVALID_ARGUMENT, "extended attribute \"%s\" is of no known kind", name);
    if (strlen(name) > MAX_NAME_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "the name of extended attribute \"%.100s\" is longer than %d bytes", name,
                    MAX_NAME_BYTES);
    if (length > EROFS_MAX_XATTR_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "extended attribute \"%.100s\" is too large: over %u bytes", name, EROFS_MAX_XATTR_BYTES);
    padded = erofs_round_up(sizeof entry + strlen(suffix) + length, 4);
    if (old_length + padded > EROFS_MAX_XATTR_BYTES)
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "extended attribute \"%.100s\" is too large: with the others over %u bytes", name,
                    EROFS_MAX_XATTR_BYTES);

    if (*xattrs == NULL)
        *xattrs = g_byte_array_new();
    entry.name_length = (guint8)strlen(suffix);
    entry.value_length = GUINT16_TO_LE((guint16)length);
    g_byte_array_append(*xattrs, (const guint8 *)&entry, sizeof entry);
    g_byte_array_append(*xattrs, (const guint8 *)suffix, (guint)strlen(suffix));
    g_byte_array_append(*xattrs, value, (guint)length);
    while ((*xattrs)->len < old_length + padded)
        g_byte_array_append(*xattrs, (const guint8 *)"", 1);
    return TRUE;
}

gsize erofs_xattr_bytes(const ErofsAttributes *attributes)
{
    return attributes->xattrs != NULL ? EROFS_XATTR_HEADER_BYTES + attributes->xattrs->len : 0;
}

gsize erofs_xattr_memory(const ErofsAttributes *attributes)
{
    enum { ARRAY_BYTES = 48 }; /* of the structure itself; its data grow to powers of two */

    return attributes->xattrs != NULL ? ARRAY_BYTES + ((gsize)1 << g_bit_storage(attributes->xattrs->len))
                                      : 0;
}
