/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/volume_options.h"

#include <glib.h>

const char *volume_cache_word(const char *mode)
{
    static const char *const modes[][2] = {
        {VOLUME_CACHE_DEFAULT, "auto"}, {"always", "always"}, {"never", "none"}};

    for (guint i = 0; i < G_N_ELEMENTS(modes); i++)
        if (g_str_equal(mode, modes[i][0]))
            return modes[i][1];
    return NULL;
}
