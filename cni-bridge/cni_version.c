/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_version.h"

#include <string.h>

static const char *const names[] = {
    [CNI_VERSION_0_1_0] = "0.1.0", [CNI_VERSION_0_2_0] = "0.2.0", [CNI_VERSION_0_3_0] = "0.3.0",
    [CNI_VERSION_0_3_1] = "0.3.1", [CNI_VERSION_0_4_0] = "0.4.0", [CNI_VERSION_1_0_0] = "1.0.0",
    [CNI_VERSION_1_1_0] = "1.1.0",
};

gboolean cni_version_from_name(const char *name, CniVersion *ret_version)
{
    if (*name == '\0')
        name = names[CNI_VERSION_0_1_0];
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *ret_version = (CniVersion)i;
            return TRUE;
        }
    }
    return FALSE;
}

const char *cni_version_name(CniVersion version)
{
    return names[version];
}

static CniVersion shape(CniVersion version)
{
    if (version < CNI_VERSION_0_3_0)
        return CNI_VERSION_0_1_0;
    return version < CNI_VERSION_1_0_0 ? CNI_VERSION_0_3_0 : CNI_VERSION_1_0_0;
}

gboolean cni_version_same_shape(CniVersion one, CniVersion other)
{
    return shape(one) == shape(other);
}
