/* SPDX-License-Identifier: Apache-2.0 */
/* Platforms as images name them: the OCI image specification's os, architecture and variant.
 *
 * Names are compared as containerd compares them: without regard to case, with the usual other names of an
 * architecture (x86_64, aarch64), and what an image leaves out matches everything.
 */
#pragma once

#include <glib.h>

/* The platform of the guests. Strings are borrowed. */
typedef struct {
    const char *architecture; /* "amd64", "arm64", "arm" */
    const char *variant;      /* "v8"; NULL: the usual one of the architecture */
} Platform;

/* What an image or an entry of an index names. Strings are borrowed; NULL and "" mean that it names none. */
typedef struct {
    const char *os;
    const char *architecture;
    const char *variant;
} PlatformName;

/* Return: how well an image of that name suits the guests, 0 for not at all. */
guint platform_rate(const Platform *platform, const PlatformName *name);
/* Return: whether name has neither an operating system nor an architecture. */
gboolean platform_name_is_empty(const PlatformName *name);
