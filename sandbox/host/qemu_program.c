/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/host/qemu_program.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/bundle.h"
#include "common/error.h"
#include "common/process.h"
#include "sandbox/host/accelerator.h"

enum { VERSION_TIMEOUT_MS = 10000, VERSION_MAX_BYTES = 4096 };

#define FIRST_WORDS "QEMU emulator version "
#define OWN_MARK ", crivirt " /* deploy/qemu/build.sh */

void qemu_program_clear(QemuProgram *program)
{
    g_clear_pointer(&program->path, g_free);
    g_clear_pointer(&program->version, g_free);
}

gboolean qemu_program_wish_is_valid(const char *wish)
{
    return g_str_equal(wish, "auto") || g_str_equal(wish, "debian") || g_path_is_absolute(wish);
}

static gboolean parse_number(const char *text, gulong *ret_number)
{
    static const gulong weights[] = {1000000, 1000, 1};
    gulong number = 0;

    for (guint i = 0; i < G_N_ELEMENTS(weights); i++) {
        char *end = NULL;
        guint64 part = g_ascii_strtoull(text, &end, 10);

        if (end == text || part > 999 || (i + 1 < G_N_ELEMENTS(weights) && *end != '.'))
            return FALSE;
        number += (gulong)part * weights[i];
        text = end + 1;
    }
    *ret_number = number;
    return TRUE;
}

gboolean qemu_program_parse(const char *output, QemuProgram *ret_program)
{
    const char *version = output + strlen(FIRST_WORDS);
    gulong number;

    if (!g_str_has_prefix(output, FIRST_WORDS) || !parse_number(version, &number))
        return FALSE;
    g_free(ret_program->version);
    ret_program->version = g_strndup(version, strcspn(version, "\r\n"));
    ret_program->number = number;
    ret_program->own = strstr(ret_program->version, OWN_MARK) != NULL;
    return TRUE;
}

/* "…(Debian VERSION, crivirt …)" and "…(Debian VERSION)" or, built again from the same source, "…+b3)" */
gboolean qemu_program_is_outdated(const QemuProgram *own, const QemuProgram *debian)
{
    const char *mark = strstr(own->version, OWN_MARK);
    const gsize length = mark != NULL ? (gsize)(mark - own->version) : 0;

    if (mark == NULL || strstr(debian->version, "(Debian ") == NULL)
        return FALSE;
    return strncmp(own->version, debian->version, length) != 0 ||
           (debian->version[length] != ')' && !g_str_has_prefix(debian->version + length, "+b"));
}

static gboolean ask_version(QemuProgram *program, GError **error)
{
    const char *const argv[] = {program->path, "--version", NULL};
    const ProcessSpec spec = {.argv = argv, .max_output_bytes = VERSION_MAX_BYTES};
    Deadline deadline = deadline_in_ms(VERSION_TIMEOUT_MS);
    g_auto(ProcessResult) result = {0};
    g_autoptr(GError) problem = NULL;
    g_autofree char *failure = NULL;

    if (!process_run(&spec, &deadline, &result, &problem))
        return fail(error, STATUS_FAILED_PRECONDITION, "QEMU does not run: %s", problem->message);
    failure = process_describe_failure(&result);
    if (result.exit_code != 0)
        return fail(error, STATUS_FAILED_PRECONDITION, "QEMU does not run: %s %s: %s", program->path, failure,
                    result.errors);
    return qemu_program_parse(result.output, program) ||
           fail(error, STATUS_FAILED_PRECONDITION, "%s is not a QEMU: it does not report a version of one",
                program->path);
}

/* On PATH, as libvirt looks for it. */
static gboolean find_debian(const char *name, QemuProgram *program, GError **error)
{
    program->path = g_find_program_in_path(name);
    return program->path != NULL ||
           fail(error, STATUS_FAILED_PRECONDITION, "QEMU is not installed: there is no %s on PATH", name);
}

/* crivirtd knows its QEMUs among the node's processes by that name (sandbox/vmm/reaper.c). */
static gboolean find_named(const char *path, const char *name, QemuProgram *program, GError **error)
{
    g_autofree char *file = g_path_get_basename(path);

    if (access(path, X_OK) != 0)
        return fail(error, STATUS_FAILED_PRECONDITION, "cannot run %s: %s", path, g_strerror(errno));
    if (!g_file_test(path, G_FILE_TEST_IS_REGULAR))
        return fail(error, STATUS_FAILED_PRECONDITION, "%s is not a regular file", path);
    if (!g_str_has_prefix(file, name))
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "%s is not a QEMU for this node: the name of the file has to begin with %s", path, name);
    program->path = g_strdup(path);
    program->named = TRUE;
    return TRUE;
}

gboolean qemu_program_find(const char *wish, gboolean embedded, QemuProgram *ret_program, GError **error)
{
    g_autofree char *name = g_strconcat("qemu-system-", accelerator_architecture(), NULL);
    g_autofree char *installed = g_build_filename(QEMU_PROGRAM_DIRECTORY, name, NULL);
    g_autofree char *own = bundle_path(installed);
    g_auto(QemuProgram) program = {0};
    gboolean found;

    if (!qemu_program_wish_is_valid(wish))
        return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is not auto, debian or an absolute path", wish);
    if (g_path_is_absolute(wish))
        found = find_named(wish, name, &program, error);
    else if (g_str_equal(wish, "auto") && embedded && access(own, F_OK) == 0)
        found = find_named(own, name, &program, error);
    else
        found = find_debian(name, &program, error);
    if (!found || !ask_version(&program, error))
        return FALSE;
    *ret_program = program;
    program = (QemuProgram){0};
    return TRUE;
}
