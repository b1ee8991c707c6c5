/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/file_loan.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/error.h"
#include "common/log.h"
#include "sandbox/host/file_access.h"

/* "GROUP-DIGEST", because a name holds no path. */
static char *record_path(const char *records, const char *path, gid_t group)
{
    g_autofree char *digest = g_compute_checksum_for_string(G_CHECKSUM_SHA256, path, -1);

    return g_strdup_printf("%s/%u-%s", records, (guint)group, digest);
}

gboolean file_loan_begin(const char *records, const char *path, gid_t group, gboolean writes, GError **error)
{
    g_autofree char *record = record_path(records, path, group);

    if (symlink(path, record) != 0 && errno != EEXIST)
        return fail_errno(error, errno, "cannot record who may open %s: %s", path, record);
    if (file_access_grant(path, group, writes, error))
        return TRUE;
    unlink(record);
    return FALSE;
}

gboolean file_loan_end(const char *records, const char *path, gid_t group, GError **error)
{
    g_autofree char *record = record_path(records, path, group);

    if (!file_access_revoke(path, group, error))
        return FALSE;
    unlink(record);
    return TRUE;
}

static void end_recorded(const char *records, const char *name)
{
    g_autofree char *record = g_build_filename(records, name, NULL);
    g_autofree char *path = g_file_read_link(record, NULL);
    g_autoptr(GError) problem = NULL;
    char *rest = NULL;
    guint64 group = g_ascii_strtoull(name, &rest, 10);

    if (path == NULL || *rest != '-' || group == 0 || group > G_MAXUINT32)
        return; /* none of ours */
    if (!file_access_revoke(path, (gid_t)group, &problem) && problem->code != STATUS_NOT_FOUND)
        log_warning(LOG_NO_FIELDS, "%s", problem->message);
    unlink(record);
}

void file_loan_end_all(const char *records)
{
    g_autoptr(GDir) entries = g_dir_open(records, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL)
        end_recorded(records, name);
}
