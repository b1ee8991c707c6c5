#include "sandbox/oci/seccomp_profile.h"

#include <errno.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/socket.h>

#include "common/error.h"
#include "image-service/image_json.h"
#include "sandbox/oci/oci_json.h"

/* ---- the default ---- */

typedef struct {
    const char *name;
    const char *capability; /* NULL: for everybody */
} Row;

static const Row rows[] = {
#define SYSCALL(name) {#name, NULL},
#define SYSCALL_FOR(capability, name) {#name, #capability},
#include "sandbox/oci/seccomp_profile.def"
#undef SYSCALL
#undef SYSCALL_FOR
};

/* The first is the machine's own; the others are the forms of it that its kernel runs too. */
static const struct {
    const char *machine;
    const char *names[3];
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

static void put_rule(yajl_gen json, const char *name, const char *action, int error_number,
                     const Argument *argument)
{
    yajl_gen_map_open(json);
    oci_json_put_strings(json, "names", &name, 1);
    oci_json_put_pair(json, "action", action);
    if (error_number != 0)
        oci_json_put_int(json, "errnoRet", error_number);
    if (argument != NULL) {
        oci_json_put_array(json, "args");
        yajl_gen_map_open(json);
        oci_json_put_int(json, "index", argument->index);
        oci_json_put_int(json, "value", (gint64)argument->value);
        oci_json_put_int(json, "valueTwo", (gint64)argument->value_two);
        oci_json_put_pair(json, "op", argument->op);
        yajl_gen_map_close(json);
        yajl_gen_array_close(json);
    }
    yajl_gen_map_close(json);
}

static void put_personalities(yajl_gen json)
{
    /* Linux, 32-bit Linux, uname 2.6, both, and the question which it is. */
    static const guint64 harmless[] = {0x0, 0x8, 0x20000, 0x20008, 0xffffffff};

    for (gsize i = 0; i < G_N_ELEMENTS(harmless); i++) {
        Argument argument = {.value = harmless[i], .op = "SCMP_CMP_EQ"};

        put_rule(json, "personality", "SCMP_ACT_ALLOW", 0, &argument);
    }
}

/* New namespaces are for those who may have them. A filter cannot see clone3's flags behind their pointer:
 * ENOSYS makes the C library fall back to clone. */
static void put_clone(yajl_gen json, gboolean may_all)
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

/* A guest's vsock would reach whatever listens on the node: not for containers. */
static void put_socket(yajl_gen json)
{
    const Argument below = {.value = AF_VSOCK, .op = "SCMP_CMP_LT"};
    const Argument above = {.value = AF_VSOCK, .op = "SCMP_CMP_GT"};

    put_rule(json, "socket", "SCMP_ACT_ALLOW", 0, &below);
    put_rule(json, "socket", "SCMP_ACT_ALLOW", 0, &above);
}

static void put_names(yajl_gen json, const GPtrArray *capabilities)
{
    yajl_gen_map_open(json);
    oci_json_put_array(json, "names");
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].capability == NULL || has_capability(capabilities, rows[i].capability))
            oci_json_put_string(json, rows[i].name);
    yajl_gen_array_close(json);
    oci_json_put_pair(json, "action", "SCMP_ACT_ALLOW");
    yajl_gen_map_close(json);
}

void seccomp_profile_put_default(yajl_gen json, const char *architecture, const GPtrArray *capabilities)
{
    oci_json_put_map(json, "seccomp");
    oci_json_put_pair(json, "defaultAction", "SCMP_ACT_ERRNO");
    oci_json_put_int(json, "defaultErrnoRet", EPERM);
    for (gsize i = 0; i < G_N_ELEMENTS(architectures); i++)
        if (g_str_equal(architectures[i].machine, architecture))
            oci_json_put_strings(json, "architectures", architectures[i].names,
                                 g_strv_length((char **)(void *)architectures[i].names));
    oci_json_put_array(json, "syscalls");
    put_names(json, capabilities);
    put_personalities(json);
    put_clone(json, has_capability(capabilities, "SYS_ADMIN"));
    put_socket(json);
    yajl_gen_array_close(json);
    yajl_gen_map_close(json);
}

/* ---- an administrator's ---- */

/* What names in a profile may consist of: they reach libseccomp as they are. */
static gboolean is_word(const char *text, const char *prefix)
{
    if (text == NULL || !g_str_has_prefix(text, prefix) || strlen(text) > 64)
        return FALSE;
    return text[strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")] == '\0' &&
           *text != '\0';
}

static yajl_val member(yajl_val object, const char *name)
{
    const char *path[] = {name, NULL};

    return yajl_tree_get(object, path, yajl_t_any);
}

static gboolean wrong(GError **error, const char *profile, const char *what)
{
    return fail(error, STATUS_INVALID_ARGUMENT, "seccomp profile %s: %s", profile, what);
}

/* SCMP_ACT_NOTIFY needs a listener on the node, which a guest has none of. */
static gboolean put_action(yajl_gen json, const char *profile, const char *key, yajl_val value,
                           GError **error)
{
    static const char *const actions[] = {
        "SCMP_ACT_KILL",  "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_TRAP",  "SCMP_ACT_ERRNO",        "SCMP_ACT_TRACE",
        "SCMP_ACT_ALLOW", "SCMP_ACT_LOG",          NULL,
    };
    const char *action = YAJL_GET_STRING(value);

    if (action == NULL || !g_strv_contains(actions, action))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "seccomp profile %s: %s is \"%s\", which is no action here", profile, key,
                    action != NULL ? action : "");
    oci_json_put_pair(json, key, action);
    return TRUE;
}

/* Copies an array of words; absent is fine unless needed. */
static gboolean put_words(yajl_gen json, const char *profile, const char *key, yajl_val value,
                          const char *prefix, GError **error)
{
    if (value == NULL || YAJL_IS_NULL(value))
        return TRUE;
    if (!YAJL_IS_ARRAY(value))
        return fail(error, STATUS_INVALID_ARGUMENT, "seccomp profile %s: %s is no array", profile, key);
    oci_json_put_array(json, key);
    for (size_t i = 0; i < value->u.array.len; i++) {
        const char *word = YAJL_GET_STRING(value->u.array.values[i]);

        if (!is_word(word, prefix))
            return fail(error, STATUS_INVALID_ARGUMENT, "seccomp profile %s: \"%s\" in %s is no name of one",
                        profile, word != NULL ? word : "", key);
        oci_json_put_string(json, word);
    }
    yajl_gen_array_close(json);
    return TRUE;
}

/* Numbers are unsigned of 64 bits: copied as digits. */
static gboolean put_number(yajl_gen json, const char *profile, const char *key, yajl_val value,
                           GError **error)
{
    const char *digits;

    if (value == NULL || YAJL_IS_NULL(value))
        return TRUE;
    digits = YAJL_GET_NUMBER(value);
    if (digits == NULL || *digits == '\0' || strlen(digits) > 20 ||
        digits[strspn(digits, "0123456789")] != '\0')
        return fail(error, STATUS_INVALID_ARGUMENT, "seccomp profile %s: %s is no natural number", profile,
                    key);
    oci_json_put_string(json, key);
    yajl_gen_number(json, digits, strlen(digits));
    return TRUE;
}

static gboolean put_arguments(yajl_gen json, const char *profile, yajl_val list, GError **error)
{
    if (list == NULL || YAJL_IS_NULL(list))
        return TRUE;
    if (!YAJL_IS_ARRAY(list) || list->u.array.len > 64)
        return wrong(error, profile, "args is no array of a sensible length");
    oci_json_put_array(json, "args");
    for (size_t i = 0; i < list->u.array.len; i++) {
        yajl_val argument = list->u.array.values[i];
        const char *op;

        if (!YAJL_IS_OBJECT(argument))
            return wrong(error, profile, "an element of args is no object");
        op = YAJL_GET_STRING(member(argument, "op"));
        if (!is_word(op, "SCMP_CMP_"))
            return wrong(error, profile, "an element of args has no op that is SCMP_CMP_…");
        yajl_gen_map_open(json);
        if (!put_number(json, profile, "index", member(argument, "index"), error) ||
            !put_number(json, profile, "value", member(argument, "value"), error) ||
            !put_number(json, profile, "valueTwo", member(argument, "valueTwo"), error))
            return FALSE;
        oci_json_put_pair(json, "op", op);
        yajl_gen_map_close(json);
    }
    yajl_gen_array_close(json);
    return TRUE;
}

static gboolean put_syscall(yajl_gen json, const char *profile, yajl_val rule, GError **error)
{
    yajl_val names;

    if (!YAJL_IS_OBJECT(rule))
        return wrong(error, profile, "an element of syscalls is no object");
    names = member(rule, "names");
    if (!YAJL_IS_ARRAY(names) || names->u.array.len == 0)
        return wrong(error, profile, "an element of syscalls has no names");
    yajl_gen_map_open(json);
    if (!put_words(json, profile, "names", names, "", error) ||
        !put_action(json, profile, "action", member(rule, "action"), error) ||
        !put_number(json, profile, "errnoRet", member(rule, "errnoRet"), error) ||
        !put_arguments(json, profile, member(rule, "args"), error))
        return FALSE;
    yajl_gen_map_close(json);
    return TRUE;
}

static gboolean put_profile(yajl_gen json, const char *profile, yajl_val root, GError **error)
{
    yajl_val syscalls = member(root, "syscalls");

    oci_json_put_map(json, "seccomp");
    if (!put_action(json, profile, "defaultAction", member(root, "defaultAction"), error) ||
        !put_number(json, profile, "defaultErrnoRet", member(root, "defaultErrnoRet"), error) ||
        !put_words(json, profile, "architectures", member(root, "architectures"), "SCMP_ARCH_", error) ||
        !put_words(json, profile, "flags", member(root, "flags"), "SECCOMP_FILTER_FLAG_", error))
        return FALSE;
    if (syscalls != NULL && !YAJL_IS_NULL(syscalls)) {
        if (!YAJL_IS_ARRAY(syscalls))
            return wrong(error, profile, "syscalls is no array");
        oci_json_put_array(json, "syscalls");
        for (size_t i = 0; i < syscalls->u.array.len; i++)
            if (!put_syscall(json, profile, syscalls->u.array.values[i], error))
                return FALSE;
        yajl_gen_array_close(json);
    }
    yajl_gen_map_close(json);
    return TRUE;
}

gboolean seccomp_profile_put_text(yajl_gen json, const char *name, const char *text, gsize length,
                                  GError **error)
{
    g_autofree char *what = g_strdup_printf("seccomp profile %s", name);
    g_autoptr(JsonValue) root = NULL;

    if (length > SECCOMP_PROFILE_MAX_BYTES)
        return wrong(error, name, "it is too long");
    root = image_json_parse(text, length, what, error);
    if (root == NULL)
        return FALSE;
    return YAJL_IS_OBJECT(root) ? put_profile(json, name, root, error)
                                : wrong(error, name, "it is no JSON object");
}
