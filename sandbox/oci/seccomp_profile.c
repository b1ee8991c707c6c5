/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/seccomp_profile.h"

#include <errno.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/socket.h>

#include "common/json_writer.h"

/* ---- the profile of RuntimeDefault ---- */

typedef struct {
    const char *name;
    const char *capability; /* NULL: for every container */
} Row;

static const Row rows[] = {
#define SYSCALL(name) {#name, NULL},
#define SYSCALL_FOR(capability, name) {#name, #capability},
#include "sandbox/oci/seccomp_profile.def"
#undef SYSCALL
#undef SYSCALL_FOR
};

/* The first of seccomp_names is the architecture itself. Its kernel also runs programs of the others. */
static const struct {
    const char *name;
    const char *seccomp_names[3];
} architectures[] = {
    {"x86_64", {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", NULL}},
    {"aarch64", {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", NULL}},
};

static gboolean has_capability(const GPtrArray *capabilities, const char *name)
{
    for (guint i = 0; i < capabilities->len; i++)
        if (g_str_equal(capabilities->pdata[i], name))
            return TRUE;
    return FALSE;
}

typedef struct {
    guint index;
    guint64 value;
    guint64 value_two;
    const char *op;
} Argument;

static void put_rule(JsonWriter *json, const char *name, const char *action, int error_number,
                     const Argument *argument)
{
    json_writer_open_object(json, NULL);
    json_writer_strings(json, "names", &name, 1);
    json_writer_string(json, "action", action);
    if (error_number != 0)
        json_writer_int(json, "errnoRet", error_number);
    if (argument != NULL) {
        json_writer_open_array(json, "args");
        json_writer_open_object(json, NULL);
        json_writer_int(json, "index", argument->index);
        json_writer_int(json, "value", (gint64)argument->value);
        json_writer_int(json, "valueTwo", (gint64)argument->value_two);
        json_writer_string(json, "op", argument->op);
        json_writer_close_object(json);
        json_writer_close_array(json);
    }
    json_writer_close_object(json);
}

static void put_personalities(JsonWriter *json)
{
    /* Linux, 32-bit Linux, uname 2.6, both, and the query. */
    static const guint64 harmless[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

    for (gsize i = 0; i < G_N_ELEMENTS(harmless); i++) {
        Argument argument = {.value = harmless[i], .op = "SCMP_CMP_EQ"};

        put_rule(json, "personality", "SCMP_ACT_ALLOW", 0, &argument);
    }
}

/* New namespaces need the capability. A filter cannot read the flags of clone3, which are behind a pointer:
 * ENOSYS makes the C library use clone instead. */
static void put_clone(JsonWriter *json, gboolean may_all)
{
    const Argument no_namespaces = {
        .value = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
                 CLONE_NEWCGROUP,
        .op = "SCMP_CMP_MASKED_EQ",
    };

    put_rule(json, "clone", "SCMP_ACT_ALLOW", 0, may_all ? NULL : &no_namespaces);
    if (may_all)
        put_rule(json, "clone3", "SCMP_ACT_ALLOW", 0, NULL);
    else
        put_rule(json, "clone3", "SCMP_ACT_ERRNO", ENOSYS, NULL);
}

/* Through vsock a container would reach services of the node. */
static void put_socket(JsonWriter *json)
{
    const Argument below = {.value = AF_VSOCK, .op = "SCMP_CMP_LT"};
    const Argument above = {.value = AF_VSOCK, .op = "SCMP_CMP_GT"};

    put_rule(json, "socket", "SCMP_ACT_ALLOW", 0, &below);
    put_rule(json, "socket", "SCMP_ACT_ALLOW", 0, &above);
}

static void put_names(JsonWriter *json, const GPtrArray *capabilities)
{
    json_writer_open_object(json, NULL);
    json_writer_open_array(json, "names");
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].capability == NULL || has_capability(capabilities, rows[i].capability))
            json_writer_string(json, NULL, rows[i].name);
    json_writer_close_array(json);
    json_writer_string(json, "action", "SCMP_ACT_ALLOW");
    json_writer_close_object(json);
}

void seccomp_profile_put_default(JsonWriter *json, const char *architecture, const GPtrArray *capabilities)
{
    json_writer_open_object(json, "seccomp");
    json_writer_string(json, "defaultAction", "SCMP_ACT_ERRNO");
    json_writer_int(json, "defaultErrnoRet", EPERM);
    for (gsize i = 0; i < G_N_ELEMENTS(architectures); i++)
        if (g_str_equal(architectures[i].name, architecture))
            json_writer_strings(json, "architectures", architectures[i].seccomp_names,
                                g_strv_length((char **)(void *)architectures[i].seccomp_names));
    json_writer_open_array(json, "syscalls");
    put_names(json, capabilities);
    put_personalities(json);
    put_clone(json, has_capability(capabilities, "SYS_ADMIN"));
    put_socket(json);
    json_writer_close_array(json);
    json_writer_close_object(json);
}

/* ---- profiles of the administrator ---- */

enum { WORD_CHARACTERS = 64, ARGUMENTS_MAX = 64 };

/* Return: whether the text is a name; names are passed to libseccomp as they are. */
static gboolean is_word(const char *text, const char *prefix)
{
    if (!g_str_has_prefix(text, prefix) || strlen(text) > WORD_CHARACTERS)
        return FALSE;
    return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")] == '\0' &&
           *text != '\0';
}

/* SCMP_ACT_NOTIFY needs a listener on the node, which a guest does not have. */
static gboolean put_action(JsonWriter *json, const JsonValue *object, const char *key, GError **error)
{
    static const char *const actions[] = {
        "SCMP_ACT_KILL",  "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_TRAP",  "SCMP_ACT_ERRNO",        "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW", "SCMP_ACT_LOG",          NULL,
    };
    const JsonValue *member = json_require(object, key, error);
    const char *action = NULL;

    if (member == NULL || !json_as_string(member, &action, error))
        return FALSE;
    if (!g_strv_contains(actions, action))
        return json_fail(member, error, "\"%s\" is not an action that is possible in a guest", action);
    json_writer_string(json, key, action);
    return TRUE;
}

/* Copies an optional array of words. */
static gboolean put_words(JsonWriter *json, const JsonValue *object, const char *key, const char *prefix,
                          GError **error)
{
    const JsonValue *array = NULL;

    if (!json_get_array(object, key, G_MAXSIZE, &array, error))
        return FALSE;
    if (array == NULL)
        return TRUE;
    json_writer_open_array(json, key);
    for (gsize i = 0; i < json_length(array); i++) {
        const JsonValue *element = json_at(array, i);
        const char *word = NULL;

        if (!json_as_string(element, &word, error))
            return FALSE;
        if (!is_word(word, prefix))
            return json_fail(element, error, "\"%s\" is not a name%s%s", word,
                             *prefix != '\0' ? " that begins with " : "", prefix);
        json_writer_string(json, NULL, word);
    }
    json_writer_close_array(json);
    return TRUE;
}

/* Copies an optional number, which is unsigned and of 64 bits, by its digits. */
static gboolean put_number(JsonWriter *json, const JsonValue *object, const char *key, GError **error)
{
    const JsonValue *member = json_member(object, key);
    guint64 number;

    if (member == NULL || json_is(member, JSON_NULL))
        return TRUE;
    if (!json_as_uint(member, G_MAXUINT64, &number, error))
        return FALSE;
    json_writer_digits(json, key, json_digits(member));
    return TRUE;
}

static gboolean put_argument(JsonWriter *json, const JsonValue *argument, GError **error)
{
    const JsonValue *op = json_require(argument, "op", error);
    const char *name = NULL;

    if (op == NULL || !json_as_string(op, &name, error))
        return FALSE;
    if (!is_word(name, "SCMP_CMP_"))
        return json_fail(op, error, "\"%s\" is not a comparison (SCMP_CMP_…)", name);
    json_writer_open_object(json, NULL);
    if (!put_number(json, argument, "index", error) || !put_number(json, argument, "value", error) ||
        !put_number(json, argument, "valueTwo", error))
        return FALSE;
    json_writer_string(json, "op", name);
    json_writer_close_object(json);
    return TRUE;
}

static gboolean put_arguments(JsonWriter *json, const JsonValue *rule, GError **error)
{
    const JsonValue *list = NULL;

    if (!json_get_array(rule, "args", ARGUMENTS_MAX, &list, error))
        return FALSE;
    if (list == NULL)
        return TRUE;
    json_writer_open_array(json, "args");
    for (gsize i = 0; i < json_length(list); i++)
        if (!put_argument(json, json_at(list, i), error))
            return FALSE;
    json_writer_close_array(json);
    return TRUE;
}

static gboolean put_syscall(JsonWriter *json, const JsonValue *rule, GError **error)
{
    const JsonValue *names = json_require(rule, "names", error);

    if (names == NULL)
        return FALSE;
    if (!json_is(names, JSON_ARRAY) || json_length(names) == 0)
        return json_fail(names, error, "expected an array of names");
    json_writer_open_object(json, NULL);
    if (!put_words(json, rule, "names", "", error) || !put_action(json, rule, "action", error) ||
        !put_number(json, rule, "errnoRet", error) || !put_arguments(json, rule, error))
        return FALSE;
    json_writer_close_object(json);
    return TRUE;
}

static gboolean put_profile(JsonWriter *json, const JsonValue *root, GError **error)
{
    const JsonValue *syscalls = NULL;

    json_writer_open_object(json, "seccomp");
    if (!put_action(json, root, "defaultAction", error) ||
        !put_number(json, root, "defaultErrnoRet", error) ||
        !put_words(json, root, "architectures", "SCMP_ARCH_", error) ||
        !put_words(json, root, "flags", "SECCOMP_FILTER_FLAG_", error) ||
        !json_get_array(root, "syscalls", G_MAXSIZE, &syscalls, error))
        return FALSE;
    if (syscalls != NULL) {
        json_writer_open_array(json, "syscalls");
        for (gsize i = 0; i < json_length(syscalls); i++)
            if (!put_syscall(json, json_at(syscalls, i), error))
                return FALSE;
        json_writer_close_array(json);
    }
    json_writer_close_object(json);
    return TRUE;
}

gboolean seccomp_profile_put_text(JsonWriter *json, const char *name, const char *text, gsize length,
                                  GError **error)
{
    static const JsonLimits limits = {.max_bytes = SECCOMP_PROFILE_MAX_BYTES};
    g_autofree char *what = g_strdup_printf("seccomp profile %s", name);
    g_autoptr(JsonDocument) document = json_document_parse(text, length, what, &limits, error);
    const JsonValue *root = document != NULL ? json_document_object(document, error) : NULL;

    return root != NULL && put_profile(json, root, error);
}
