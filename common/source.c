/* SPDX-License-Identifier: Apache-2.0 */
#include "common/source.h"

void source_drop(GSource **source)
{
    if (*source == NULL)
        return;
    g_source_destroy(*source);
    g_source_unref(*source);
    *source = NULL;
}
