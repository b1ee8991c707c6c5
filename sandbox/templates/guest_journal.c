/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/templates/guest_journal.h"

#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"

#define JOURNAL "guests"

enum { MAX_TEXT_BYTES = 8 << 20 }; /* a CNI configuration with its plugins' files, and a result */

static char *journal_path(const GuestEnvironment *env, const char *id)
{
    return g_build_filename(env->state_dir, JOURNAL, id, NULL);
}

gboolean guest_journal_write(const GuestEnvironment *env, const char *id, const char *text, gsize length,
                             GError **error)
{
    g_autofree char *directory = g_build_filename(env->state_dir, JOURNAL, NULL);
    g_autofree char *path = journal_path(env, id);

    return dir_make(directory, 0700, error) && file_write_atomic(path, text, length, 0600, error);
}

gboolean guest_journal_read(const GuestEnvironment *env, const char *id, char **ret_text, gsize *ret_length,
                            GError **error)
{
    g_autofree char *path = journal_path(env, id);

    if (g_file_test(path, G_FILE_TEST_EXISTS))
        return file_read(path, MAX_TEXT_BYTES, ret_text, ret_length, error);
    *ret_text = g_strdup("");
    *ret_length = 0;
    return TRUE;
}

void guest_journal_forget(const GuestEnvironment *env, const char *id)
{
    g_autofree char *path = journal_path(env, id);

    unlink(path);
}

void guest_journal_each(const GuestEnvironment *env, void (*function)(const char *id, gpointer data),
                        gpointer data)
{
    g_autofree char *path = g_build_filename(env->state_dir, JOURNAL, NULL);
    g_autoptr(GDir) directory = g_dir_open(path, 0, NULL);
    const char *id;

    while (directory != NULL && (id = g_dir_read_name(directory)) != NULL)
        function(id, data);
}
