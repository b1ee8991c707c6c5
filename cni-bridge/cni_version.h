/* SPDX-License-Identifier: Apache-2.0 */
/* Versions of the CNI specification, and what changed between them. */
#pragma once

#include <glib.h>

typedef enum {
    CNI_VERSION_0_1_0,
    CNI_VERSION_0_2_0,
    CNI_VERSION_0_3_0, /* lists and prevResult; results have "ips" and "interfaces" */
    CNI_VERSION_0_3_1,
    CNI_VERSION_0_4_0, /* CHECK; prevResult for DEL */
    CNI_VERSION_1_0_0, /* "ips" without "version" */
    CNI_VERSION_1_1_0, /* STATUS, GC; route attributes */
} CniVersion;

/* "" is 0.1.0, by the specification. Return: FALSE for a version that is not known. */
gboolean cni_version_from_name(const char *name, CniVersion *ret_version);
const char *cni_version_name(CniVersion version);
/* Results of both versions have the same shape: nothing must be converted. */
gboolean cni_version_same_shape(CniVersion one, CniVersion other);
