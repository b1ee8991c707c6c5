/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/platform.h"

enum { RATE_EXACT = 100, RATE_NO_VARIANT = 50, RATE_OLDER_VARIANT = 10 };

static gboolean is_named(const char *text)
{
    return text != NULL && *text != '\0';
}

gboolean platform_name_is_empty(const PlatformName *name)
{
    return !is_named(name->os) && !is_named(name->architecture);
}

/* An architecture by its OCI name, and the variant that some of the other names imply. */
static const char *normal_architecture(const char *architecture, const char **variant)
{
    static const struct {
        const char *other;
        const char *name;
        const char *variant;
    } names[] = {
        {"x86_64", "amd64", NULL}, {"x86-64", "amd64", NULL}, {"aarch64", "arm64", NULL},
        {"armhf", "arm", "v7"},    {"armel", "arm", "v6"},    {"i386", "386", NULL},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        if (g_ascii_strcasecmp(architecture, names[i].other) != 0)
            continue;
        if (!is_named(*variant))
            *variant = names[i].variant;
        return names[i].name;
    }
    return architecture;
}

/* An amd64 guest promises no more than v1, an arm64 guest v8. Newer variants of arm run what was made for
 * older ones. */
static guint rate_variant(const Platform *platform, const char *variant)
{
    const char *wanted = platform->variant;

    if (wanted == NULL)
        wanted = g_str_equal(platform->architecture, "arm64") ? "v8"
                 : g_str_equal(platform->architecture, "arm") ? "v7"
                                                              : "v1";
    if (!is_named(variant))
        return RATE_NO_VARIANT;
    if (g_ascii_strcasecmp(variant, wanted) == 0)
        return RATE_EXACT;
    if (g_str_equal(platform->architecture, "arm64") && g_str_equal(variant, "8"))
        return RATE_EXACT;
    if (variant[0] == 'v' && wanted[0] == 'v' && g_ascii_isdigit(variant[1]) && variant[2] == '\0' &&
        g_ascii_isdigit(wanted[1]) && variant[1] < wanted[1] && !g_str_equal(platform->architecture, "arm64"))
        return (guint)(variant[1] - '0') + RATE_OLDER_VARIANT;
    return 0;
}

guint platform_rate(const Platform *platform, const PlatformName *name)
{
    const char *variant = name->variant;

    if (is_named(name->os) && g_ascii_strcasecmp(name->os, "linux") != 0)
        return 0;
    if (is_named(name->architecture) &&
        g_ascii_strcasecmp(normal_architecture(name->architecture, &variant), platform->architecture) != 0)
        return 0;
    return rate_variant(platform, variant);
}
