/* SPDX-License-Identifier: Apache-2.0 */
#include "common/huge_pages.h"

#include <string.h>
#include <sys/prctl.h>

#define SHARED_MEMORY "/sys/kernel/mm/transparent_hugepage/shmem_enabled"

gboolean huge_pages_in_shared_memory(const char *setting)
{
    return setting != NULL && strstr(setting, "[never]") == NULL && strstr(setting, "[deny]") == NULL;
}

void huge_pages_avoid(void)
{
    g_autofree char *setting = NULL;

    g_file_get_contents(SHARED_MEMORY, &setting, NULL, NULL);
    if (!huge_pages_in_shared_memory(setting))
        prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
}
