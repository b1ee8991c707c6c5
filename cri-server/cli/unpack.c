/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/cli/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "image-service/layers/tar_reader.h"

enum { BLOCK_BYTES = 64 * 1024, PERMISSIONS = 0777 };

typedef struct {
    const UnpackSpec *spec;
    int fd;
    guint8 *buffer; /* BLOCK_BYTES */
    TarReader *from;
    struct archive *to;
    guint n_unpacked;
    guint n_refused;
} Unpacking;

static void refuse(Unpacking *unpacking, const char *name, const char *why)
{
    unpacking->n_refused++;
    g_printerr("crivirt: cannot copy %s: %s\n", name, why);
}

/* Return: the name without "./" at its begin and "/" at its end, "" for the directory itself; the caller
 * frees it. NULL when it leads out of the directory. */
static char *plain_name(const char *name)
{
    g_auto(GStrv) words = name != NULL && *name != '/' ? g_strsplit(name, "/", -1) : NULL;
    g_autoptr(GString) plain = g_string_new(NULL);

    for (guint i = 0; words != NULL && words[i] != NULL; i++) {
        if (*words[i] == '\0' || g_str_equal(words[i], "."))
            continue;
        if (g_str_equal(words[i], ".."))
            return NULL;
        g_string_append_printf(plain, "%s%s", plain->len > 0 ? "/" : "", words[i]);
    }
    return words != NULL ? g_string_free(g_steal_pointer(&plain), FALSE) : NULL;
}

/* Return: where a member of that plain name is put, the caller's; NULL when it was not requested. */
static char *place_of(const UnpackSpec *spec, const char *name)
{
    const gsize length = strlen(spec->name);

    if (g_str_equal(spec->name, "."))
        return g_strdup(*name != '\0' ? name : ".");
    if (strncmp(name, spec->name, length) != 0 || (name[length] != '\0' && name[length] != '/'))
        return NULL;
    return g_strconcat(spec->new_name != NULL ? spec->new_name : spec->name, name + length, NULL);
}

/* Gives the entry its place and mode. Return: FALSE when it is left out. */
static gboolean entry_prepare(Unpacking *unpacking, struct archive_entry *entry)
{
    const char *given = archive_entry_pathname(entry);
    const char *target = archive_entry_hardlink(entry);
    g_autofree char *name = plain_name(given);
    g_autofree char *place = name != NULL ? place_of(unpacking->spec, name) : NULL;
    const mode_t type = archive_entry_filetype(entry);

    if (name == NULL)
        return refuse(unpacking, given != NULL ? given : "a file without a name",
                      "its name leads out of the directory"),
               FALSE;
    if (place == NULL)
        return FALSE;
    if (type == S_IFBLK || type == S_IFCHR)
        return refuse(unpacking, given, "device nodes of a container are not copied"), FALSE;
    if (target != NULL) {
        g_autofree char *target_name = plain_name(target);
        g_autofree char *target_place = target_name != NULL ? place_of(unpacking->spec, target_name) : NULL;

        if (target_place == NULL)
            return refuse(unpacking, given, "it is a hard link to a file that is not copied"), FALSE;
        archive_entry_set_hardlink(entry, target_place);
    }
    archive_entry_set_pathname(entry, place);
    if (!unpacking->spec->keeps)
        archive_entry_set_perm(entry, archive_entry_perm(entry) & PERMISSIONS);
    return TRUE;
}

/* *ret_written: whether all of it could be written. Return: FALSE when the archive cannot be read any
 * further. */
static gboolean data_copy(Unpacking *unpacking, gboolean *ret_written, GError **error)
{
    TarBlock block;
    gboolean ended = FALSE;

    *ret_written = FALSE;
    while (TRUE) {
        if (!tar_reader_data(unpacking->from, &block, &ended, error))
            return FALSE;
        if (ended)
            break;
        if (archive_write_data_block(unpacking->to, block.data, block.length, block.offset) < ARCHIVE_OK)
            return TRUE;
    }
    *ret_written = TRUE;
    return TRUE;
}

/* Return: FALSE when the archive cannot be read any further. */
static gboolean entry_unpack(Unpacking *unpacking, struct archive_entry *entry, GError **error)
{
    gboolean written = TRUE;

    if (!entry_prepare(unpacking, entry))
        return TRUE;
    if (archive_write_header(unpacking->to, entry) < ARCHIVE_WARN) {
        refuse(unpacking, archive_entry_pathname(entry), archive_error_string(unpacking->to));
        return TRUE;
    }
    unpacking->n_unpacked++;
    if (archive_entry_hardlink(entry) == NULL && archive_entry_size(entry) > 0 &&
        !data_copy(unpacking, &written, error))
        return FALSE;
    if (!written || archive_write_finish_entry(unpacking->to) < ARCHIVE_WARN) {
        const char *why = archive_error_string(unpacking->to);

        refuse(unpacking, archive_entry_pathname(entry), why != NULL ? why : "it cannot be written");
    }
    return TRUE;
}

static gboolean unpack_all(Unpacking *unpacking, GError **error)
{
    struct archive_entry *entry = NULL;

    do
        if (!tar_reader_next(unpacking->from, &entry, error) ||
            (entry != NULL && !entry_unpack(unpacking, entry, error)))
            return FALSE;
    while (entry != NULL);
    if (archive_write_close(unpacking->to) != ARCHIVE_OK) /* sets modes and times of directories */
        return fail(error, STATUS_INTERNAL, "cannot write below %s: %s", unpacking->spec->into,
                    archive_error_string(unpacking->to));
    if (unpacking->n_refused > 0)
        return fail(error, STATUS_INTERNAL, "%u of the files were not copied", unpacking->n_refused);
    return unpacking->n_unpacked > 0 ||
           fail(error, STATUS_NOT_FOUND, "%s is not in the archive of the container", unpacking->spec->name);
}

static gboolean read_source(gpointer data, const guint8 **ret_data, gsize *ret_length, GError **error)
{
    const Unpacking *unpacking = data;
    ssize_t got = TEMP_FAILURE_RETRY(read(unpacking->fd, unpacking->buffer, BLOCK_BYTES));

    if (got < 0)
        return fail_errno(error, errno, "cannot read the archive of the container");
    *ret_data = unpacking->buffer;
    *ret_length = (gsize)got;
    return TRUE;
}

gboolean unpack_tar(int fd, const UnpackSpec *spec, GError **error)
{
    g_autofree guint8 *buffer = g_malloc(BLOCK_BYTES);
    Unpacking unpacking = {.spec = spec, .fd = fd, .buffer = buffer, .to = archive_write_disk_new()};
    int flags = ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS;
    gboolean good;

    if (spec->keeps)
        flags |= ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_PERM;
    archive_write_disk_set_options(unpacking.to, flags);
    if (chdir(spec->into) != 0) {
        good = fail_errno(error, errno, "cannot enter %s", spec->into);
    } else {
        unpacking.from =
            tar_reader_open(read_source, &unpacking, "cannot read the archive of the container", error);
        good = unpacking.from != NULL && unpack_all(&unpacking, error);
    }
    archive_write_free(unpacking.to);
    tar_reader_free(unpacking.from);
    return good;
}
