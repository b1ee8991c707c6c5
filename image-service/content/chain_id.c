/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/content/chain_id.h"

#include <string.h>

#include "image-service/content/digest.h"

char **chain_ids_of(const char *const *diff_ids)
{
    g_autoptr(GStrvBuilder) chain_ids = g_strv_builder_new();
    g_autofree char *below = NULL;

    for (; *diff_ids != NULL; diff_ids++) {
        g_autofree char *text = below != NULL ? g_strconcat(below, " ", *diff_ids, NULL) : NULL;

        g_free(below);
        below = text != NULL ? digest_of(text, strlen(text)) : g_strdup(*diff_ids);
        g_strv_builder_add(chain_ids, below);
    }
    return g_strv_builder_end(chain_ids);
}
