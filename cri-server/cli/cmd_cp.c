/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt cp: a tar in the container and one on the node, connected by an exec. Destinations follow the rules
 * of docker cp. What a container sends is not trusted: unpack.h takes it, in a process of its own.
 */
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.pb-c.h"
#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/stream_run.h"
#include "cri-server/cli/unpack.h"

typedef struct {
    const char *container; /* the container's id; NULL: a path of the node */
    const char *path;
} Place;

typedef enum { NOTHING, OTHER, DIRECTORY } Kind;

/* The source: everything below `directory` (name "."), or one name in it. It is unpacked in `into`, perhaps
 * under another name. */
typedef struct {
    const char *directory, *name;
    const char *into;
    const char *new_name; /* NULL: keep the name */
    gboolean makes_into;
} Plan;

/* ---- places ---- */

static Place read_place(Cli *cli, const char *text)
{
    const char *colon = strchr(text, ':');

    if (colon == NULL || colon == text || *text == '/' || *text == '.')
        return (Place){NULL, text};
    return (Place){arena_printf(cli->arena, "%.*s", (int)(colon - text), text), colon + 1};
}

static gboolean is_pipe(const Place *place)
{
    return place->container == NULL && strcmp(place->path, "-") == 0;
}

static const char *place_text(Cli *cli, const Place *place, const char *path)
{
    return place->container != NULL ? arena_printf(cli->arena, "%s in the container", path) : path;
}

/* The command's exit code must be 0, or 1 for "no" when ret_yes is given. */
static gboolean run_there(Cli *cli, const char *id, const char *const *words, gboolean *ret_yes,
                          GError **error)
{
    Runtime__V1__ExecSyncRequest request = RUNTIME__V1__EXEC_SYNC_REQUEST__INIT;
    const Runtime__V1__ExecSyncResponse *response;

    request.container_id = (char *)id;
    request.cmd = (char **)(void *)words;
    request.n_cmd = g_strv_length((char **)(void *)words);
    response = cli_runtime_call(cli, "ExecSync", &request.base, CLI_CALL_MS, error);
    if (response == NULL)
        return FALSE;
    if (response->exit_code != 0 && (ret_yes == NULL || response->exit_code != 1))
        return fail(error, STATUS_INTERNAL, "%s in the container: %.*s", words[0], (int)response->stderr.len,
                    (const char *)response->stderr.data);
    if (ret_yes != NULL)
        *ret_yes = response->exit_code == 0;
    return TRUE;
}

static gboolean look_up_kind_in_container(Cli *cli, const char *id, const char *path, gboolean follows,
                                          Kind *ret_kind, GError **error)
{
    const char *is_link[] = {"test", "-h", path, NULL};
    const char *is_directory[] = {"test", "-d", path, NULL};
    const char *exists[] = {"test", "-e", path, NULL};
    gboolean yes = FALSE;

    if (!follows && !run_there(cli, id, is_link, &yes, error))
        return FALSE;
    if (yes) {
        *ret_kind = OTHER;
        return TRUE;
    }
    if (!run_there(cli, id, is_directory, &yes, error))
        return FALSE;
    if (yes) {
        *ret_kind = DIRECTORY;
        return TRUE;
    }
    if (!run_there(cli, id, exists, &yes, error))
        return FALSE;
    *ret_kind = yes ? OTHER : NOTHING;
    return TRUE;
}

/* Looks up what a path is. Without follows a symbolic link is not followed. */
static gboolean look_up_kind(Cli *cli, const Place *place, const char *path, gboolean follows, Kind *ret_kind,
                             GError **error)
{
    struct stat status;

    follows = follows || g_str_has_suffix(path, "/") || g_str_has_suffix(path, "/.");
    if (place->container != NULL)
        return look_up_kind_in_container(cli, place->container, path, follows, ret_kind, error);
    if ((follows ? stat(path, &status) : lstat(path, &status)) < 0)
        *ret_kind = NOTHING;
    else
        *ret_kind = S_ISDIR(status.st_mode) ? DIRECTORY : OTHER;
    return TRUE;
}

static gboolean make_directory(Cli *cli, const Place *place, const char *path, GError **error)
{
    const char *words[] = {"mkdir", "-p", "--", path, NULL};

    if (place->container != NULL)
        return run_there(cli, place->container, words, NULL, error);
    return g_mkdir_with_parents(path, 0777) == 0 || fail(error, STATUS_INTERNAL, "cannot create %s", path);
}

/* ---- planning ---- */

static const char *directory_of(Cli *cli, const char *path)
{
    g_autofree char *directory = g_path_get_dirname(path);

    return arena_strdup(cli->arena, directory);
}

static const char *name_of(Cli *cli, const char *path)
{
    g_autofree char *name = g_path_get_basename(path);

    return arena_strdup(cli->arena, name);
}

static gboolean check_parent(Cli *cli, const Place *to, GError **error)
{
    /* The parent directory; of "dir/" it is the parent of dir. */
    const char *trimmed = arena_strdup(cli->arena, to->path);
    const char *parent;
    Kind kind;

    while (strlen(trimmed) > 1 && g_str_has_suffix(trimmed, "/"))
        trimmed = arena_printf(cli->arena, "%.*s", (int)strlen(trimmed) - 1, trimmed);
    parent = directory_of(cli, trimmed);
    if (!look_up_kind(cli, to, parent, TRUE, &kind, error))
        return FALSE;
    return kind == DIRECTORY ||
           fail(error, STATUS_NOT_FOUND, "there is no directory %s", place_text(cli, to, parent));
}

static gboolean plan_file(Cli *cli, const Place *from, const Place *to, Kind to_kind, Plan *ret_plan,
                          GError **error)
{
    Plan plan = {.directory = directory_of(cli, from->path), .name = name_of(cli, from->path)};

    if (to_kind == DIRECTORY) {
        plan.into = to->path;
    } else if (g_str_has_suffix(to->path, "/")) {
        return fail(error, STATUS_NOT_FOUND, "there is no directory %s", place_text(cli, to, to->path));
    } else {
        if (!check_parent(cli, to, error))
            return FALSE;
        plan.into = directory_of(cli, to->path);
        plan.new_name = name_of(cli, to->path);
    }
    *ret_plan = plan;
    return TRUE;
}

static gboolean plan_directory(Cli *cli, const Place *from, const Place *to, Kind to_kind, Plan *ret_plan,
                               GError **error)
{
    gboolean contents = g_str_has_suffix(from->path, "/.") || strcmp(from->path, ".") == 0;
    const char *name = name_of(cli, from->path);
    Plan plan = {.directory = from->path, .name = ".", .into = to->path};

    if (to_kind == OTHER)
        return fail(error, STATUS_INVALID_ARGUMENT, "%s is not a directory, but %s is",
                    place_text(cli, to, to->path), place_text(cli, from, from->path));
    if (to_kind == NOTHING && !check_parent(cli, to, error))
        return FALSE;
    if (to_kind == DIRECTORY && !contents && strcmp(name, "/") != 0)
        plan.into = arena_printf(cli->arena, "%s/%s", to->path, name);
    plan.makes_into = TRUE;
    *ret_plan = plan;
    return TRUE;
}

static gboolean plan_copy(Cli *cli, const Place *from, const Place *to, Plan *ret_plan, GError **error)
{
    Kind from_kind;
    Kind to_kind;

    if (!look_up_kind(cli, from, from->path, FALSE, &from_kind, error) ||
        !look_up_kind(cli, to, to->path, TRUE, &to_kind, error))
        return FALSE;
    if (from_kind == NOTHING)
        return fail(error, STATUS_NOT_FOUND, "there is no %s", place_text(cli, from, from->path));
    return (from_kind == DIRECTORY ? plan_directory : plan_file)(cli, from, to, to_kind, ret_plan, error);
}

/* ---- tar ---- */

static char *escaped(const char *text, const char *special)
{
    GString *result = g_string_new(NULL);

    for (; *text != '\0'; text++) {
        if (strchr(special, *text) != NULL)
            g_string_append_c(result, '\\');
        g_string_append_c(result, *text);
    }
    return g_string_free(result, FALSE);
}

static gboolean keeps(const Cli *cli)
{
    return options_flag(cli->options, "archive");
}

/* Options of the node's tar, which is GNU's; the container's tar may have none of them. No name contains a
 * slash. */
static char *rename_option(const Plan *plan)
{
    g_autofree char *from = escaped(plan->name, "\\.[]*^$");
    g_autofree char *to = NULL;

    if (plan->new_name == NULL)
        return NULL;
    to = escaped(plan->new_name, "\\&");
    return g_strdup_printf("--transform=s/^%s$/%s/", from, to);
}

/* Starts the node's end with a pipe to its stdin or from its stdout. */
static gboolean tar_start(const char *const *argv, gboolean feeds, GPid *ret_pid, int *ret_fd, GError **error)
{
    if (!g_spawn_async_with_pipes(NULL, (char **)(void *)argv, NULL,
                                  G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD |
                                      (feeds ? G_SPAWN_DEFAULT : G_SPAWN_CHILD_INHERITS_STDIN),
                                  NULL, NULL, ret_pid, feeds ? ret_fd : NULL, feeds ? NULL : ret_fd, NULL,
                                  error)) {
        error_adopt(error);
        return FALSE;
    }
    return TRUE;
}

static gboolean check_there(Cli *cli, GError **error)
{
    return cli->exit_code == 0 ||
           fail(error, STATUS_INTERNAL, "tar in the container failed (exit code %d)", cli->exit_code);
}

static gboolean tar_end(Cli *cli, GPid pid, GError **error)
{
    int status = 0;

    TEMP_FAILURE_RETRY(waitpid(pid, &status, 0));
    g_spawn_close_pid(pid);
    if (!check_there(cli, error))
        return FALSE;
    return status == 0 || fail(error, STATUS_INTERNAL, "the node's end of the copy failed");
}

static gboolean connect_tars(Cli *cli, const char *id, const char *const *here, const char *const *there,
                             gboolean into_container, GError **error)
{
    StreamRun run = {.in_fd = -1, .out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO};
    StreamAddress address;
    gboolean good;
    GPid pid;
    int fd;

    if (!stream_exec_address(cli, id, there, into_container, FALSE, &address, error) ||
        !tar_start(here, !into_container, &pid, &fd, error))
        return FALSE;
    if (into_container)
        run.in_fd = fd;
    else
        run.out_fd = fd;
    good = stream_run(cli, &address, &run, error);
    close(fd);
    return tar_end(cli, pid, good ? error : NULL) && good;
}

static gboolean copy_in(Cli *cli, const Place *to, const Plan *plan, GError **error)
{
    g_autofree char *rename = rename_option(plan);
    const char *pack[] = {"tar", "-cf",      "-", rename != NULL ? rename : "--sparse", "-C", plan->directory,
                          "--",  plan->name, NULL};
    const char *unpack[] = {"tar", keeps(cli) ? "-xpf" : "-xof", "-", "-C", plan->into, NULL};

    return connect_tars(cli, to->container, pack, unpack, TRUE, error);
}

static gboolean copy_out(Cli *cli, const Place *from, const Plan *plan, GError **error)
{
    const char *pack[] = {"tar", "-cf", "-", "-C", plan->directory, "--", plan->name, NULL};
    const char *unpack[] = {"/proc/self/exe",
                            command_unpack.name,
                            keeps(cli) ? "--archive" : "--archive=false",
                            "--",
                            plan->into,
                            plan->name,
                            plan->new_name,
                            NULL};

    return connect_tars(cli, from->container, unpack, pack, FALSE, error);
}

/* Copies a tar archive from stdin or to stdout. */
static gboolean copy_archive(Cli *cli, const Place *from, const Place *to, GError **error)
{
    gboolean in = is_pipe(from);
    const char *id = in ? to->container : from->container;
    const char *unpack[] = {"tar", "-xf", "-", "-C", to->path, NULL};
    const char *pack[] = {
        "tar", "-cf", "-", "-C", directory_of(cli, from->path), "--", name_of(cli, from->path), NULL};
    StreamRun run = {.in_fd = in ? STDIN_FILENO : -1, .out_fd = STDOUT_FILENO, .err_fd = STDERR_FILENO};
    StreamAddress address;

    if (!in && isatty(STDOUT_FILENO))
        return usage_fail(error, "refusing to write an archive to a terminal; redirect stdout");
    return stream_exec_address(cli, id, in ? unpack : pack, in, FALSE, &address, error) &&
           stream_run(cli, &address, &run, error) && check_there(cli, error);
}

/* ---- the command ---- */

static gboolean copy_path(Cli *cli, const Place *from, const Place *to, GError **error)
{
    Plan plan;

    if (is_pipe(from) || is_pipe(to))
        return copy_archive(cli, from, to, error);
    if (!plan_copy(cli, from, to, &plan, error) ||
        (plan.makes_into && !make_directory(cli, to, plan.into, error)))
        return FALSE;
    return to->container != NULL ? copy_in(cli, to, &plan, error) : copy_out(cli, from, &plan, error);
}

static gboolean cp_command(Cli *cli, GError **error)
{
    Place from = read_place(cli, options_operands(cli->options)[0]);
    Place to = read_place(cli, options_operands(cli->options)[1]);
    Place *there = from.container != NULL ? &from : &to;
    const InventoryContainer *row;
    const Inventory *inventory;

    if ((from.container != NULL) == (to.container != NULL))
        return usage_fail(error, "cp needs one path in a container (CONTAINER:PATH) and one on the node");
    inventory = inventory_load(cli, error);
    row = inventory != NULL ? inventory_container(cli, inventory, there->container, error) : NULL;
    if (row == NULL)
        return FALSE;
    there->container = row->container->id;
    if (copy_path(cli, &from, &to, error))
        return TRUE;
    cli->exit_code = 1;
    return FALSE;
}

static const OptionSpec cp_options[] = {
    {"archive", 'a', OPTION_FLAG, NULL, "keep owners and setuid bits; only for containers that you trust"},
    {NULL},
};

const Command command_cp = {
    .name = "cp",
    .group = "Containers",
    .usage = "CONTAINER:PATH PATH|- | PATH|- CONTAINER:PATH",
    .help = "Copy files and directories from or into a container",
    .details =
        "Copies into the destination when that is a directory, otherwise to it: crivirt cp a.conf "
        "web:/etc/b.conf.\n"
        "Of a directory whose name ends in \"/.\" what is in it is copied. \"-\" is a tar archive on "
        "standard\n"
        "input or output. The container needs the programs tar, test and mkdir.\n"
        "Files that come out of a container belong to you and have no setuid, setgid and sticky bits;\n"
        "device nodes, and what would leave the destination, are refused.",
    .options = cp_options,
    .min_operands = 2,
    .max_operands = 2,
    .run = cp_command,
};

static gboolean unpack_command(Cli *cli, GError **error)
{
    const char *const *operands = options_operands(cli->options);
    const UnpackSpec spec = {.into = operands[0],
                             .name = operands[1],
                             .new_name = options_n_operands(cli->options) > 2 ? operands[2] : NULL,
                             .keeps = keeps(cli)};

    return unpack_tar(STDIN_FILENO, &spec, error);
}

const Command command_unpack = {
    .name = "__unpack",
    .usage = "DIRECTORY NAME [NEW-NAME]",
    .help = "Unpack what a container sends to standard input (used by cp)",
    .options = cp_options,
    .min_operands = 2,
    .max_operands = 3,
    .run = unpack_command,
};
