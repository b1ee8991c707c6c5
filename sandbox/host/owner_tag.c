#include "sandbox/host/owner_tag.h"

#include <errno.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/ids.h"

#define PREFIX "crivirt-"

enum { DIGITS = 16, FILE_BYTES = 64 };

static gboolean mark_is_valid(const char *mark)
{
    return g_str_has_prefix(mark, PREFIX) && strlen(mark) == strlen(PREFIX) + DIGITS &&
           strspn(mark + strlen(PREFIX), "0123456789abcdef") == DIGITS;
}

static char *mark_make(const char *path, GError **error)
{
    g_autofree char *mark = NULL;
    guint64 number;

    random_fill(&number, sizeof number);
    mark = g_strdup_printf(PREFIX "%016" G_GINT64_MODIFIER "x", number);
    return file_write_atomic(path, mark, strlen(mark), 0600, error) ? g_steal_pointer(&mark) : NULL;
}

char *owner_tag_get(const char *state_dir, GError **error)
{
    g_autofree char *path = g_build_filename(state_dir, "owner", NULL);
    g_autoptr(GError) problem = NULL;
    g_autofree char *mark = NULL;

    if (!file_read(path, FILE_BYTES, &mark, NULL, &problem)) {
        if (problem->code == STATUS_NOT_FOUND)
            return mark_make(path, error);
        g_propagate_error(error, g_steal_pointer(&problem));
        return NULL;
    }
    if (mark_is_valid(mark))
        return g_steal_pointer(&mark);
    fail(error, STATUS_INTERNAL, "%s: this is not the mark of a state directory", path);
    return NULL;
}
