#include "cri-server/config/config.h"

#include "common/error.h"
#include "common/toml.h"
#include "cri-server/config/option_value.h"

#include <string.h>
#include <unistd.h>
#include <yajl/yajl_gen.h>

static const Option options[] = {
#define OPTION(TYPE, section, key, flag, field, default_text, limits, help)                                  \
    {OPTION_##TYPE, section, key, flag, G_STRUCT_OFFSET(Config, field), default_text, limits, help},
#include "cri-server/config/options.def"
#undef OPTION
};

static gpointer option_field(const Option *option, const Config *config)
{
    return (char *)config + option->offset;
}

static gboolean starts_section(gsize i)
{
    return i == 0 || !g_str_equal(options[i - 1].section, options[i].section);
}

static Config *config_new_default(GError **error)
{
    g_autoptr(Config) config = g_new0(Config, 1);

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        if (!option_set_text(&options[i], options[i].default_text, option_field(&options[i], config),
                             error)) {
            g_prefix_error(error, "default of %s.%s: ", options[i].section, options[i].key);
            return NULL;
        }
    if (!handler_configs_read(NULL, "", &config->handlers, error))
        return NULL;
    return g_steal_pointer(&config);
}

void config_free(Config *config)
{
    if (config == NULL)
        return;
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        option_clear(&options[i], option_field(&options[i], config));
    g_clear_pointer(&config->handlers, g_ptr_array_unref);
    g_free(config);
}

/* ---- the file ---- */

static gboolean check_sections(const TomlTable *root, GError **error)
{
    const char *known[G_N_ELEMENTS(options) + 2] = {NULL};
    gsize n_known = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        if (starts_section(i))
            known[n_known++] = options[i].section;
    known[n_known] = "handlers";
    return toml_check_keys(root, known, error);
}

static gboolean check_keys(const TomlTable *table, const char *section, GError **error)
{
    const char *known[G_N_ELEMENTS(options) + 1] = {NULL};
    gsize n_known = 0;

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        if (g_str_equal(options[i].section, section))
            known[n_known++] = options[i].key;
    return toml_check_keys(table, known, error);
}

static gboolean read_option(Config *config, const TomlTable *table, const Option *option, const char *path,
                            GError **error)
{
    GError *problem = NULL;

    if (!toml_has(table, option->key))
        return TRUE;
    if (option_set_toml(option, table, option_field(option, config), &problem))
        return TRUE;
    /* The reader's own errors say where; those about a value do not know. */
    if (!g_str_has_prefix(problem->message, path))
        g_prefix_error(&problem, "%s:%u: %s.%s: ", path, toml_line(table, option->key), option->section,
                       option->key);
    g_propagate_error(error, problem);
    return FALSE;
}

/* *ret_table is NULL when it is not there. */
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

static gboolean read_handlers(Config *config, const TomlTable *root, const char *path, GError **error)
{
    const TomlTable *tables = NULL;
    GPtrArray *handlers = NULL;

    if (!find_table(root, "handlers", &tables, error) ||
        !handler_configs_read(tables, path, &handlers, error))
        return FALSE;
    g_ptr_array_unref(config->handlers);
    config->handlers = handlers;
    return TRUE;
}

static gboolean read_file(Config *config, const char *path, GError **error)
{
    g_autoptr(TomlTable) root = toml_parse_file(path, error);
    const TomlTable *table = NULL;

    if (root == NULL || !check_sections(root, error))
        return FALSE;
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
        if (starts_section(i)) {
            if (!find_table(root, options[i].section, &table, error))
                return FALSE;
            if (table != NULL && !check_keys(table, options[i].section, error))
                return FALSE;
        }
        if (table != NULL && !read_option(config, table, &options[i], path, error))
            return FALSE;
    }
    return read_handlers(config, root, path, error);
}

/* ---- the command line ---- */

/* Flags beat the file, and one of them names it: so they are gathered first. */
typedef struct {
    const char *texts[G_N_ELEMENTS(options)]; /* by option; owned */
} Flags;

static void flags_clear(Flags *flags)
{
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        g_free((char *)flags->texts[i]);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Flags, flags_clear)

static gboolean take_flag(const char *name, const char *value, gpointer data, GError **error)
{
    Flags *flags = data;

    (void)error;
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        if (g_str_equal(options[i].flag, name + strlen("--"))) {
            g_free((char *)flags->texts[i]);
            flags->texts[i] = g_strdup(value);
        }
    return TRUE;
}

static gboolean apply_flags(Config *config, const Flags *flags, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        if (flags->texts[i] != NULL &&
            !option_set_text(&options[i], flags->texts[i], option_field(&options[i], config), error)) {
            g_prefix_error(error, "--%s: ", options[i].flag);
            return FALSE;
        }
    return TRUE;
}

/* Where GLib puts what the flags say that are no options. */
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
        {"config", 'c', 0, G_OPTION_ARG_FILENAME, &commands->path,
         "Configuration file [" CONFIG_DEFAULT_PATH "]", "FILE"},
        {"check-config", 0, 0, G_OPTION_ARG_NONE, &commands->check,
         "Check the configuration and that this node has what it names, and exit", NULL},
        {"print-config", 0, 0, G_OPTION_ARG_NONE, &commands->print,
         "Print the configuration in force, and exit", NULL},
        {"dump-default", 0, 0, G_OPTION_ARG_NONE, &commands->dump_default,
         "Print a configuration file with every option and its default, and exit", NULL},
        {"version", 0, 0, G_OPTION_ARG_NONE, &commands->version, "Print the version, and exit", NULL},
        {NULL},
    };
    GOptionEntry entries[G_N_ELEMENTS(options) + 1] = {{NULL}};
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    GOptionGroup *group = g_option_group_new("main", "", "", flags, NULL);
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) left = g_new0(char *, (gsize)argc + 1);

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
        char *text = g_strdup_printf("%s [%s]", options[i].help, options[i].default_text);

        g_ptr_array_add(texts, text);
        entries[i] = (GOptionEntry){options[i].flag,
                                    0,
                                    0,
                                    G_OPTION_ARG_CALLBACK,
                                    (gpointer)take_flag,
                                    text,
                                    option_metavar(&options[i])};
    }
    g_option_context_set_summary(context, "Serves the Kubernetes CRI; each pod is a virtual machine.");
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

/* The value of the option "section.key". */
static char *inherited_text(const char *name, gconstpointer data)
{
    g_auto(GStrv) parts = g_strsplit(name, ".", 2);

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
        if (g_str_equal(options[i].section, parts[0]) && g_str_equal(options[i].key, parts[1]))
            return option_to_text(&options[i], option_field(&options[i], data));
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

Config *config_load(int argc, char **argv, ConfigAction *ret_action, GError **error)
{
    g_auto(Flags) flags = {{NULL}};
    Commands commands = {NULL};
    g_autofree char *path = NULL;
    g_autoptr(Config) config = NULL;
    gboolean parsed = parse_command_line(argc, argv, &flags, &commands, error);

    path = commands.path;
    if (!parsed)
        return NULL;
    config = config_new_default(error);
    if (config == NULL)
        return NULL;
    if (path == NULL && access(CONFIG_DEFAULT_PATH, F_OK) == 0)
        path = g_strdup(CONFIG_DEFAULT_PATH);
    if (path != NULL && !commands.version && !commands.dump_default && !read_file(config, path, error))
        return NULL;
    if (!apply_flags(config, &flags, error) ||
        !handler_configs_complete(config->handlers, config->host_pods, inherited_text, config, error))
        return NULL;
    *ret_action = chosen_action(&commands);
    return g_steal_pointer(&config);
}

/* ---- printing ---- */

static void append_comment(GString *out, const Option *option)
{
    g_autofree char *allowed = option_allowed(option);

    g_string_append_printf(out, "\n# %s\n", option->help);
    if (*allowed != '\0')
        g_string_append_printf(out, "# Allowed: %s.\n", allowed);
    g_string_append_printf(out, "# Flag: --%s\n", option->flag);
}

char *config_to_toml(const Config *config)
{
    GString *out =
        g_string_new("# Configuration of crivirtd (" CONFIG_DEFAULT_PATH ").\n"
                     "# Options that are commented out show their defaults. Each has a flag, which "
                     "beats this file.\n"
                     "# Check a change with: crivirtd --check-config\n");

    for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
        const Option *option = &options[i];
        g_auto(OptionDefault) standard = option_default(option);
        g_autofree char *text =
            option_to_toml(option, config != NULL ? option_field(option, config) : standard.value);

        if (starts_section(i))
            g_string_append_printf(out, "\n[%s]\n", option->section);
        append_comment(out, option);
        g_string_append_printf(out, "%s%s = %s\n", config == NULL ? "#" : "", option->key, text);
    }
    handler_configs_to_toml(config != NULL ? config->handlers : NULL, out);
    return g_string_free(out, FALSE);
}

static void generate_string(yajl_gen json, const char *text)
{
    yajl_gen_string(json, (const unsigned char *)text, strlen(text));
}

static void generate_value(yajl_gen json, const Option *option, gconstpointer field)
{
    g_autofree char *text = option_to_text(option, field);

    if (option->type == OPTION_BOOL) {
        yajl_gen_bool(json, *(const gboolean *)field);
    } else if (option->type == OPTION_COUNT) {
        yajl_gen_number(json, text, strlen(text));
    } else if (option->type == OPTION_LIST) {
        yajl_gen_array_open(json);
        for (char **item = *(char ***)(gpointer)field; *item != NULL; item++)
            generate_string(json, *item);
        yajl_gen_array_close(json);
    } else {
        generate_string(json, text);
    }
}

static void generate_handlers(yajl_gen json, const GPtrArray *handlers)
{
    gsize n_rows;
    const Option *rows = handler_options(&n_rows);

    generate_string(json, "handlers");
    yajl_gen_map_open(json);
    for (guint h = 0; h < handlers->len; h++) {
        const HandlerConfig *handler = handlers->pdata[h];

        generate_string(json, handler->name);
        yajl_gen_map_open(json);
        for (gsize i = 0; i < n_rows; i++) {
            generate_string(json, rows[i].key);
            generate_value(json, &rows[i], handler_option_field(&rows[i], handler));
        }
        yajl_gen_map_close(json);
    }
    yajl_gen_map_close(json);
}

char *config_to_json(const Config *config)
{
    yajl_gen json = yajl_gen_alloc(NULL);
    const unsigned char *text = NULL;
    size_t length = 0;
    char *copy;

    yajl_gen_map_open(json);
    for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
        if (starts_section(i)) {
            if (i > 0)
                yajl_gen_map_close(json);
            generate_string(json, options[i].section);
            yajl_gen_map_open(json);
        }
        generate_string(json, options[i].key);
        generate_value(json, &options[i], option_field(&options[i], config));
    }
    yajl_gen_map_close(json);
    generate_handlers(json, config->handlers);
    yajl_gen_map_close(json);
    yajl_gen_get_buf(json, &text, &length);
    copy = g_strndup((const char *)text, length);
    yajl_gen_free(json);
    return copy;
}
