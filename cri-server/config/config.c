/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/config/config.h"

#include "common/error.h"
#include "common/toml.h"
#include "cri-server/config/config_parts.h"
#include "cri-server/config/handler_config.h"
#include "cri-server/config/option_table.h"

#include <string.h>
#include <unistd.h>

static void config_free(Settings *settings)
{
    for (gsize i = 0; i < N_OPTIONS; i++)
        option_clear(&option_rows[i], option_field(&option_rows[i], settings));
    g_clear_pointer(&settings->handlers, g_ptr_array_unref);
    g_free(settings);
}

static Settings *config_new_default(GError **error)
{
    g_autoptr(Settings) settings = g_new0(Settings, 1);

    g_atomic_ref_count_init(&settings->references);
    settings->free = config_free;
    settings->handlers = handler_configs_new();

    for (gsize i = 0; i < N_OPTIONS; i++)
        if (!option_set_default(&option_rows[i], option_field(&option_rows[i], settings), error)) {
            g_prefix_error(error, "default of %s.%s: ", option_rows[i].section, option_rows[i].key);
            return NULL;
        }
    return g_steal_pointer(&settings);
}

/* ---- the files ---- */

static gboolean check_sections(const TomlTable *root, GError **error)
{
    const char *known[N_OPTIONS + 2] = {NULL};
    gsize n_known = 0;

    for (gsize i = 0; i < N_OPTIONS; i++)
        if (option_starts_section(i))
            known[n_known++] = option_rows[i].section;
    known[n_known] = "handlers";
    return toml_check_keys(root, known, error);
}

static gboolean check_keys(const TomlTable *table, const char *section, GError **error)
{
    const char *known[N_OPTIONS + 1] = {NULL};
    gsize n_known = 0;

    for (gsize i = 0; i < N_OPTIONS; i++)
        if (g_str_equal(option_rows[i].section, section))
            known[n_known++] = option_rows[i].key;
    return toml_check_keys(table, known, error);
}

static gboolean read_option(Settings *settings, const TomlTable *table, const Option *option,
                            const char *path, GError **error)
{
    GError *problem = NULL;

    if (!toml_has(table, option->key))
        return TRUE;
    if (option_set_toml(option, table, option_field(option, settings), &problem))
        return TRUE;
    /* Errors of the TOML reader name the place; errors about a value do not. */
    if (!g_str_has_prefix(problem->message, path))
        g_prefix_error(&problem, "%s:%u: %s.%s: ", path, toml_line(table, option->key), option->section,
                       option->key);
    g_propagate_error(error, problem);
    return FALSE;
}

/* *ret_table is NULL when the file has no such table. */
static gboolean find_table(const TomlTable *root, const char *name, const TomlTable **ret_table,
                           GError **error)
{
    GError *problem = NULL;
    const TomlTable *table = toml_get_table(root, name, &problem);

    if (problem != NULL) {
        g_propagate_error(error, problem);
        return FALSE;
    }
    *ret_table = table;
    return TRUE;
}

static gboolean read_handlers(Settings *settings, const TomlTable *root, const char *path, GError **error)
{
    const TomlTable *tables = NULL;

    return find_table(root, "handlers", &tables, error) &&
           (tables == NULL || handler_configs_read(tables, path, settings->handlers, error));
}

static gboolean read_file(Settings *settings, const char *path, GError **error)
{
    g_autoptr(TomlTable) root = toml_parse_file(path, error);
    const TomlTable *table = NULL;

    if (root == NULL || !check_sections(root, error))
        return FALSE;
    for (gsize i = 0; i < N_OPTIONS; i++) {
        if (option_starts_section(i)) {
            if (!find_table(root, option_rows[i].section, &table, error))
                return FALSE;
            if (table != NULL && !check_keys(table, option_rows[i].section, error))
                return FALSE;
        }
        if (table != NULL && !read_option(settings, table, &option_rows[i], path, error))
            return FALSE;
    }
    return read_handlers(settings, root, path, error);
}

static int compare_paths(gconstpointer left, gconstpointer right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Return: the paths of FILE.d/NAME.toml in the order of their names, freed by the array; NULL with an error.
 */
static GPtrArray *list_drop_ins(const char *path, GError **error)
{
    g_autofree char *directory = g_strconcat(path, CONFIG_DROP_IN_SUFFIX, NULL);
    g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) problem = NULL;
    g_autoptr(GDir) entries = g_dir_open(directory, 0, &problem);
    const char *name;

    if (entries == NULL && !g_error_matches(problem, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        fail(error, STATUS_INVALID_ARGUMENT, "%s", problem->message);
        return NULL;
    }
    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL)
        if (*name != '.' && g_str_has_suffix(name, ".toml"))
            g_ptr_array_add(paths, g_build_filename(directory, name, NULL));
    g_ptr_array_sort(paths, compare_paths);
    return g_steal_pointer(&paths);
}

static gboolean read_drop_ins(Settings *settings, const char *path, GError **error)
{
    g_autoptr(GPtrArray) paths = list_drop_ins(path, error);

    if (paths == NULL)
        return FALSE;
    for (guint i = 0; i < paths->len; i++)
        if (!read_file(settings, paths->pdata[i], error))
            return FALSE;
    return TRUE;
}

/* path: of the command line; NULL: the default file, if there is one. */
static gboolean read_files(Settings *settings, const char *path, GError **error)
{
    if (path == NULL && access(CONFIG_DEFAULT_PATH, F_OK) != 0)
        return read_drop_ins(settings, CONFIG_DEFAULT_PATH, error);
    if (path == NULL)
        path = CONFIG_DEFAULT_PATH;
    return read_file(settings, path, error) && read_drop_ins(settings, path, error);
}

/* ---- the command line ---- */

/* Flags override the file, and one flag names the file: so they are collected before the file is read. */
typedef struct {
    const char *texts[N_OPTIONS]; /* by option; owned */
} Flags;

static void flags_clear(Flags *flags)
{
    for (gsize i = 0; i < N_OPTIONS; i++)
        g_free((char *)flags->texts[i]);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Flags, flags_clear)

static gboolean take_flag(const char *name, const char *value, gpointer data, GError **error)
{
    Flags *flags = data;

    (void)error;
    for (gsize i = 0; i < N_OPTIONS; i++)
        if (g_str_equal(option_rows[i].flag, name + strlen("--"))) {
            g_free((char *)flags->texts[i]);
            flags->texts[i] = g_strdup(value);
        }
    return TRUE;
}

static gboolean apply_flags(Settings *settings, const Flags *flags, GError **error)
{
    for (gsize i = 0; i < N_OPTIONS; i++)
        if (flags->texts[i] != NULL && !option_set_text(&option_rows[i], flags->texts[i],
                                                        option_field(&option_rows[i], settings), error)) {
            g_prefix_error(error, "--%s: ", option_rows[i].flag);
            return FALSE;
        }
    return TRUE;
}

/* The flags of config_commands.def, as GLib sets them. */
typedef struct {
    char *path;
    gboolean version;
    gboolean dump_default;
    gboolean print;
    gboolean check;
} Commands;

static gboolean parse_command_line(int argc, char **argv, Flags *flags, Commands *commands, GError **error)
{
    GOptionEntry own[] = {
#define CONFIG_COMMAND(flag, letter, kind, field, value, help)                                               \
    {flag, letter, 0, G_OPTION_ARG_##kind, &commands->field, help, value},
#include "cri-server/config/config_commands.def"
        {NULL},
    };
    GOptionEntry entries[N_OPTIONS + 1] = {{NULL}};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    GOptionGroup *group = g_option_group_new("main", "", "", flags, NULL);
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) left = g_new0(char *, (gsize)argc + 1);

    for (gsize i = 0; i < N_OPTIONS; i++) {
        char *text = g_strdup_printf("%s [%s]", option_rows[i].help, option_rows[i].default_text);

        g_ptr_array_add(texts, text);
        entries[i] = (GOptionEntry){option_rows[i].flag,
                                    0,
                                    0,
                                    G_OPTION_ARG_CALLBACK,
                                    (gpointer)take_flag,
                                    text,
                                    option_metavar(&option_rows[i])};
    }
    g_option_context_set_summary(context, "Serves the Kubernetes CRI and runs each pod in a VM of its own.");
    g_option_context_set_description(context, "Each option is also a key of the configuration file, which "
                                              "--dump-default explains.");
    g_option_group_add_entries(group, own);
    g_option_group_add_entries(group, entries);
    g_option_context_set_main_group(context, group);
    for (int i = 0; i < argc; i++)
        left[i] = g_strdup(argv[i]);
    if (!g_option_context_parse_strv(context, &left, error)) {
        if (error != NULL && *error != NULL) {
            (*error)->domain = CRIVIRT_ERROR;
            (*error)->code = STATUS_INVALID_ARGUMENT;
        }
        return FALSE;
    }
    if (g_strv_length(left) > 1)
        return fail(error, STATUS_INVALID_ARGUMENT, "unexpected argument \"%s\"", left[1]);
    return TRUE;
}

/* A HandlerInherit: the value of the option "section.key" in data, which is the Settings. */
static char *inherited_text(const char *name, gconstpointer data)
{
    g_auto(GStrv) parts = g_strsplit(name, ".", 2);

    for (gsize i = 0; i < N_OPTIONS; i++)
        if (g_str_equal(option_rows[i].section, parts[0]) && g_str_equal(option_rows[i].key, parts[1]))
            return option_to_text(&option_rows[i], option_field(&option_rows[i], data));
    g_assert_not_reached(); /* a row of handler_options.def is wrong */
}

static ConfigAction chosen_action(const Commands *commands)
{
    if (commands->version)
        return CONFIG_VERSION;
    if (commands->dump_default)
        return CONFIG_DUMP_DEFAULT;
    if (commands->print)
        return CONFIG_PRINT;
    return commands->check ? CONFIG_CHECK : CONFIG_RUN;
}

Settings *config_read(int argc, char **argv, ConfigAction *ret_action, GError **error)
{
    g_auto(Flags) flags = {{NULL}};
    Commands commands = {NULL};
    g_autofree char *path = NULL;
    g_autoptr(Settings) settings = NULL;
    gboolean parsed = parse_command_line(argc, argv, &flags, &commands, error);

    path = commands.path;
    if (!parsed)
        return NULL;
    settings = config_new_default(error);
    if (settings == NULL)
        return NULL;
    if (!commands.version && !commands.dump_default && !read_files(settings, path, error))
        return NULL;
    if (!apply_flags(settings, &flags, error))
        return NULL;
    *ret_action = chosen_action(&commands);
    return g_steal_pointer(&settings);
}

gboolean config_complete(Settings *settings, GError **error)
{
    const HandlerDefaults defaults = {settings_allow_host_pods(settings), inherited_text, settings};

    return handler_configs_complete(settings->handlers, &defaults, error);
}

Settings *config_load(int argc, char **argv, ConfigAction *ret_action, GError **error)
{
    ConfigAction action = CONFIG_RUN;
    g_autoptr(Settings) settings = config_read(argc, argv, &action, error);

    if (settings == NULL || !config_complete(settings, error))
        return NULL;
    *ret_action = action;
    return g_steal_pointer(&settings);
}
