/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt support: one archive with what the report of a defect needs.
 *
 * It has nothing that a container was given: no environment, no annotations, no volumes' contents, no output.
 * What other commands print is taken from them, so that an administrator can look at each part before sending
 * it.
 */
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/error.h"
#include "common/process.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"

enum { PART_TIMEOUT_MS = 60 * 1000, PART_MAX_BYTES = 32 << 20, PART_MODE = 0600, WORDS_MAX = 8 };

/* A program whose output becomes a file. "crivirt" is this program, with the same socket. */
typedef struct {
    const char *name;
    const char *argv[WORDS_MAX];
} Part;

/* A new part is a new row. */
static const Part parts[] = {
    {"version.txt", {"crivirt", "version"}},
    {"info.json", {"crivirt", "info", "--json"}},
    {"doctor.txt", {"crivirt", "doctor"}},
    {"pods.txt", {"crivirt", "pods"}},
    {"containers.txt", {"crivirt", "ps", "-a"}},
    {"images.txt", {"crivirt", "images", "--digests"}},
    {"stats.txt", {"crivirt", "stats", "-p", "--no-stream"}},
    {"disk.txt", {"crivirt", "system", "df"}},
    {"unused.txt", {"crivirt", "gc", "-n"}},
    {"log.txt", {"journalctl", "-u", "crivirtd", "-n", "20000", "--no-pager", "-oshort-iso"}},
    {"unit.txt", {"systemctl", "status", "crivirtd", "--no-pager", "-n0"}},
    {"kernel.txt", {"uname", "-a"}},
    {"system.txt", {"cat", "/etc/os-release"}},
    {"memory.txt", {"cat", "/proc/meminfo"}},
    {"processor.txt", {"lscpu"}},
};

typedef struct {
    Cli *cli;
    struct archive *archive;
    const char *directory; /* in the archive */
    time_t now;
} Support;

static gboolean support_add(Support *support, const char *name, const char *text, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/%s", support->directory, name);
    const gsize length = strlen(text);
    struct archive_entry *entry = archive_entry_new();
    gboolean good;

    archive_entry_set_pathname(entry, path);
    archive_entry_set_size(entry, (gint64)length);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, PART_MODE);
    archive_entry_set_mtime(entry, support->now, 0);
    good = archive_write_header(support->archive, entry) == ARCHIVE_OK &&
           archive_write_data(support->archive, text, length) == (la_ssize_t)length;
    archive_entry_free(entry);
    return good ||
           fail(error, STATUS_INTERNAL, "cannot write %s: %s", path, archive_error_string(support->archive));
}

/* What fails, because the daemon does not answer or the node has no such program, is a finding, too. */
static gboolean support_add_part(Support *support, const char *name, const char *const *words, GError **error)
{
    const Deadline deadline = {g_get_monotonic_time() + (gint64)PART_TIMEOUT_MS * 1000,
                               support->cli->interrupt};
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autoptr(GError) problem = NULL;
    g_auto(ProcessResult) result = {0};
    g_autofree char *text = NULL;

    if (g_str_equal(words[0], "crivirt")) {
        g_ptr_array_add(argv, (gpointer) "/proc/self/exe");
        g_ptr_array_add(argv, (gpointer) "--socket");
        g_ptr_array_add(argv, (gpointer)support->cli->socket_path);
        words++;
    }
    for (; *words != NULL; words++)
        g_ptr_array_add(argv, (gpointer)*words);
    g_ptr_array_add(argv, NULL);
    const ProcessSpec spec = {.argv = (const char *const *)argv->pdata, .max_output_bytes = PART_MAX_BYTES};

    if (!process_run(&spec, &deadline, &result, &problem)) {
        if (g_cancellable_is_cancelled(support->cli->interrupt)) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return FALSE;
        }
        text = g_strdup_printf("%s\n", problem->message);
    } else {
        text = g_strdup_printf("%s%s%s", result.output, result.errors, *result.errors != '\0' ? "\n" : "");
    }
    return support_add(support, name, text, error);
}

/* The phases of each start that the daemon remembers. */
static gboolean support_add_traces(Support *support, GError **error)
{
    const Inventory *inventory = inventory_load(support->cli, NULL);

    for (gsize i = 0; inventory != NULL && i < inventory->n_pods; i++) {
        const char *words[] = {"crivirt", "trace", "--json", inventory->pods[i]->id, NULL};
        g_autofree char *name = g_strdup_printf("traces/%.12s.json", inventory->pods[i]->id);

        if (!support_add_part(support, name, words, error))
            return FALSE;
    }
    return TRUE;
}

static gboolean support_write(Support *support, const char *path, GError **error)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, PART_MODE);
    gboolean good;

    if (fd < 0)
        return fail_errno(error, errno, "cannot create %s", path);
    support->archive = archive_write_new();
    archive_write_set_format_pax_restricted(support->archive);
    archive_write_add_filter_gzip(support->archive);
    good = archive_write_open_fd(support->archive, fd) == ARCHIVE_OK ||
           fail(error, STATUS_INTERNAL, "cannot write %s: %s", path, archive_error_string(support->archive));
    for (gsize i = 0; good && i < G_N_ELEMENTS(parts); i++)
        good = support_add_part(support, parts[i].name, parts[i].argv, error);
    good = good && support_add_traces(support, error);
    if (good && archive_write_close(support->archive) != ARCHIVE_OK)
        good =
            fail(error, STATUS_INTERNAL, "cannot write %s: %s", path, archive_error_string(support->archive));
    archive_write_free(support->archive);
    close(fd);
    if (!good)
        unlink(path);
    return good;
}

static gboolean support_command(Cli *cli, GError **error)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    g_autofree char *directory = g_date_time_format(now, "crivirt-support-%Y%m%dT%H%M%SZ");
    g_autofree char *standard = g_strconcat(directory, ".tar.gz", NULL);
    const char *path = options_value(cli->options, "output", standard);
    g_autofree char *line = g_strdup_printf("%s\n", path);
    Support support = {.cli = cli, .directory = directory, .now = g_date_time_to_unix(now)};

    return support_write(&support, path, error) && cli_print(line, error);
}

static const OptionSpec support_options[] = {
    {"output", 'o', OPTION_VALUE, "FILE", "archive to write (default crivirt-support-TIME.tar.gz)"},
    {NULL},
};

const Command command_support = {
    .name = "support",
    .group = "Everything",
    .usage = "[OPTIONS]",
    .help = "Collect what the report of a defect needs into one archive",
    .details =
        "The archive (mode 0600) has the versions, the configuration in force, what doctor finds, lists of "
        "pods,\n"
        "containers and images, statistics, the phases of starts, and the log of crivirtd. It has no "
        "environment,\n"
        "annotation, volume or output of any container, but names of pods and images: look at it before you\n"
        "send it. It can be made while crivirtd does not answer.",
    .options = support_options,
    .run = support_command,
};
