/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/oci/oci_parts.h"

#include "common/error.h"
#include "common/json_writer.h"

typedef Runtime__V1__LinuxContainerSecurityContext SecurityContext;

/* By number (linux/capability.h). */
static const char *const all_capabilities[] = {
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
};

/* The default of container runtimes. */
static const char *const default_capabilities[] = {
    "CHOWN",  "DAC_OVERRIDE", "FSETID",  "FOWNER",           "MKNOD",      "NET_RAW", "SETGID",
    "SETUID", "SETFCAP",      "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL",    "AUDIT_WRITE",
};

/* Return: "CHOWN" for "CAP_CHOWN" and for "chown"; NULL for an unknown name. */
static const char *capability_name(const char *name)
{
    if (g_ascii_strncasecmp(name, "CAP_", 4) == 0)
        name += 4;
    for (gsize i = 0; i < G_N_ELEMENTS(all_capabilities); i++)
        if (g_ascii_strcasecmp(all_capabilities[i], name) == 0)
            return all_capabilities[i];
    return NULL;
}

static void set_add(GPtrArray *set, const char *name)
{
    if (!g_ptr_array_find(set, name, NULL))
        g_ptr_array_add(set, (gpointer)name);
}

/* On the node, ALL may be fewer capabilities than in a guest. */
static void set_add_all(GPtrArray *set, const OciSpecInput *input)
{
    for (gsize i = 0; i < G_N_ELEMENTS(all_capabilities); i++)
        if (input->node == NULL || (input->node->capabilities >> i & 1) != 0)
            set_add(set, all_capabilities[i]);
}

/* names are interned entries of all_capabilities, so that pointers can be compared. */
static gboolean capabilities_apply(GPtrArray *set, const OciSpecInput *input, char **names, size_t n_names,
                                   gboolean add, GError **error)
{
    for (size_t i = 0; i < n_names; i++) {
        const char *name = capability_name(names[i]);

        if (g_ascii_strcasecmp(names[i], "ALL") == 0) {
            if (add)
                set_add_all(set, input);
            else
                g_ptr_array_set_size(set, 0);
        } else if (name == NULL) {
            return fail(error, STATUS_INVALID_ARGUMENT,
                        "linux.security_context.capabilities: unknown capability \"%s\"", names[i]);
        } else if (add) {
            set_add(set, name);
        } else {
            g_ptr_array_remove(set, (gpointer)name);
        }
    }
    return TRUE;
}

static gboolean has_all(char **names, size_t n_names)
{
    for (size_t i = 0; i < n_names; i++)
        if (g_ascii_strcasecmp(names[i], "ALL") == 0)
            return TRUE;
    return FALSE;
}

gboolean oci_capabilities_collect(const OciSpecInput *input, GPtrArray *set, GPtrArray *ambient,
                                  GError **error)
{
    const SecurityContext *security = oci_security(input);
    static const Runtime__V1__Capability none = RUNTIME__V1__CAPABILITY__INIT;
    const Runtime__V1__Capability *wanted = security->capabilities != NULL ? security->capabilities : &none;

    for (gsize i = 0; i < G_N_ELEMENTS(default_capabilities); i++)
        set_add(set, capability_name(default_capabilities[i]));
    if (security->privileged) {
        set_add_all(set, input);
        return TRUE;
    }
    /* ALL is applied first, so that "drop ALL, add X" and "add ALL, drop X" have the intended result. */
    if (has_all(wanted->add_capabilities, wanted->n_add_capabilities))
        set_add_all(set, input);
    if (has_all(wanted->drop_capabilities, wanted->n_drop_capabilities))
        g_ptr_array_set_size(set, 0);
    for (size_t i = 0; i < wanted->n_add_capabilities; i++)
        if (g_ascii_strcasecmp(wanted->add_capabilities[i], "ALL") != 0 &&
            !capabilities_apply(set, input, &wanted->add_capabilities[i], 1, TRUE, error))
            return FALSE;
    for (size_t i = 0; i < wanted->n_drop_capabilities; i++)
        if (g_ascii_strcasecmp(wanted->drop_capabilities[i], "ALL") != 0 &&
            !capabilities_apply(set, input, &wanted->drop_capabilities[i], 1, FALSE, error))
            return FALSE;
    /* An ambient capability has to be permitted and inheritable as well. */
    return capabilities_apply(ambient, input, wanted->add_ambient_capabilities,
                              wanted->n_add_ambient_capabilities, TRUE, error) &&
           capabilities_apply(set, input, wanted->add_ambient_capabilities,
                              wanted->n_add_ambient_capabilities, TRUE, error);
}

static void put_capability_set(JsonWriter *json, const char *key, const GPtrArray *set)
{
    json_writer_open_array(json, key);
    for (guint i = 0; i < set->len; i++) {
        g_autofree char *name = g_strconcat("CAP_", (const char *)set->pdata[i], NULL);

        json_writer_string(json, NULL, name);
    }
    json_writer_close_array(json);
}

gboolean oci_put_capabilities(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    g_autoptr(GPtrArray) set = g_ptr_array_new();
    g_autoptr(GPtrArray) ambient = g_ptr_array_new();

    if (!oci_capabilities_collect(input, set, ambient, error))
        return FALSE;
    json_writer_open_object(json, "capabilities");
    put_capability_set(json, "bounding", set);
    put_capability_set(json, "effective", set);
    put_capability_set(json, "permitted", set);
    put_capability_set(json, "inheritable", ambient);
    put_capability_set(json, "ambient", ambient);
    json_writer_close_object(json);
    return TRUE;
}