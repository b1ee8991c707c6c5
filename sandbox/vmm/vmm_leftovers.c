/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "common/json.h"
#include "common/log.h"
#include "sandbox/vmm/vmm_private.h"

enum {
    RELEASE_TIMEOUT_MS = 3000, /* for the guest to release a PCI device */
    RELEASE_POLL_MS = 20,
};

#define LIST_DEVICES "{\"execute\":\"qom-list\",\"arguments\":{\"path\":\"/machine/peripheral\"}}"
#define LIST_CHARDEVS "{\"execute\":\"query-chardev\"}"
#define LIST_DRIVES "{\"execute\":\"query-block\"}"
#define LIST_NODES "{\"execute\":\"query-named-block-nodes\",\"arguments\":{\"flat\":true}}"
#define CHARDEV_PREFIX "chr-vu-"
#define NODE_PREFIX "libvirt-"

/* libvirt's names of the kinds of devices that vmm_devices.c attaches: disks, shares, PCI devices. */
static const char *const attached_kinds[] = {"scsi0-", "fs", "hostdev"};

typedef struct {
    Vmm *vmm;
    const char *name;
    char *description; /* libvirt's XML of the domain */
} Guest;

/* Return: the array that QEMU returned, NULL when there is none; *ret_reply owns it. */
static const JsonValue *query(const Guest *guest, const char *command, JsonDocument **ret_reply)
{
    g_autoptr(GError) error = NULL;

    if (vmm_command(guest->vmm, guest->name, command, -1, ret_reply, &error))
        return json_member(json_document_root(*ret_reply), "return");
    log_warning(LOG_FIELDS("domain", guest->name), "cannot list what QEMU has: %s", error->message);
    return NULL;
}

/* Asks QEMU to remove one thing. QEMU's names contain only what libvirt chose, so that they need no quoting;
 * one that does is left alone. */
static void remove_one(const Guest *guest, const char *command, const char *key, const char *id)
{
    g_autofree char *text =
        g_strdup_printf("{\"execute\":\"%s\",\"arguments\":{\"%s\":\"%s\"}}", command, key, id);
    g_autoptr(GError) error = NULL;

    if (strpbrk(id, "\"\\") != NULL)
        return;
    if (vmm_command(guest->vmm, guest->name, text, -1, NULL, &error))
        log_info(LOG_FIELDS("domain", guest->name),
                 "%s, which an earlier crivirtd was attaching, was removed", id);
    else
        log_warning(LOG_FIELDS("domain", guest->name),
                    "%s, which an earlier crivirtd was attaching, is left: %s", id, error->message);
}

static gboolean libvirt_knows(const Guest *guest, const char *alias)
{
    g_autofree char *element = g_strdup_printf("<alias name='%s'/>", alias);

    return strstr(guest->description, element) != NULL;
}

static gboolean is_leftover_device(const Guest *guest, const char *id)
{
    for (gsize i = 0; i < G_N_ELEMENTS(attached_kinds); i++)
        if (g_str_has_prefix(id, attached_kinds[i]))
            return !libvirt_knows(guest, id);
    return FALSE;
}

/* Return: the names of leftover devices; the caller frees them. */
static GPtrArray *find_devices(const Guest *guest)
{
    GPtrArray *found = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(JsonDocument) reply = NULL;
    const JsonValue *devices = query(guest, LIST_DEVICES, &reply);

    for (gsize i = 0; i < json_length(devices); i++) {
        const char *id = NULL;

        if (json_get_string(json_at(devices, i), "name", &id, NULL) && id != NULL &&
            is_leftover_device(guest, id))
            g_ptr_array_add(found, g_strdup(id));
    }
    return found;
}

/* Return: whether QEMU still has a drive of no device, or of a leftover one. QEMU frees a disk's drive some
 * time after the device. */
static gboolean has_leftover_drive(const Guest *guest)
{
    g_autoptr(JsonDocument) reply = NULL;
    const JsonValue *drives = query(guest, LIST_DRIVES, &reply);

    for (gsize i = 0; i < json_length(drives); i++) {
        const char *id = NULL;

        if (json_get_string(json_at(drives, i), "qdev", &id, NULL) &&
            (id == NULL || *id == '\0' || is_leftover_device(guest, id)))
            return TRUE;
    }
    return FALSE;
}

/* A SCSI disk is gone at once; a PCI device when the guest has released it. */
static void remove_devices(const Guest *guest)
{
    g_autoptr(GPtrArray) devices = find_devices(guest);
    Deadline limit = deadline_sooner(NULL, RELEASE_TIMEOUT_MS);
    gboolean left = devices->len > 0;

    for (guint i = 0; i < devices->len; i++)
        remove_one(guest, "device_del", "id", devices->pdata[i]);
    while (left && deadline_left_ms(&limit) > 0) {
        g_autoptr(GPtrArray) rest = find_devices(guest);

        left = rest->len > 0 || has_leftover_drive(guest);
        if (left)
            g_usleep(RELEASE_POLL_MS * G_TIME_SPAN_MILLISECOND);
    }
}

/* The sockets of file servers. */
static void remove_chardevs(const Guest *guest)
{
    g_autoptr(JsonDocument) reply = NULL;
    const JsonValue *chardevs = query(guest, LIST_CHARDEVS, &reply);

    for (gsize i = 0; i < json_length(chardevs); i++) {
        const char *label = NULL;

        if (json_get_string(json_at(chardevs, i), "label", &label, NULL) && label != NULL &&
            g_str_has_prefix(label, CHARDEV_PREFIX) && !libvirt_knows(guest, label + strlen(CHARDEV_PREFIX)))
            remove_one(guest, "chardev-remove", "id", label);
    }
}

/* Return: the N of libvirt-N-format and libvirt-N-storage, the two nodes of a disk; 0 for another name. */
static guint64 disk_number(const char *node)
{
    return node != NULL && g_str_has_prefix(node, NODE_PREFIX)
               ? g_ascii_strtoull(node + strlen(NODE_PREFIX), NULL, 10)
               : 0;
}

/* Return: the numbers of the disks that a device of the VM has, as guint64; the caller frees the array. */
static GArray *used_disks(const Guest *guest, gboolean *ret_known)
{
    static const char *const node_path[] = {"inserted", "node-name", NULL};
    GArray *used = g_array_new(FALSE, FALSE, sizeof(guint64));
    g_autoptr(JsonDocument) reply = NULL;
    const JsonValue *drives = query(guest, LIST_DRIVES, &reply);

    *ret_known = drives != NULL;
    for (gsize i = 0; i < json_length(drives); i++) {
        guint64 number = disk_number(json_find_string(json_at(drives, i), node_path));

        g_array_append_val(used, number);
    }
    return used;
}

static gboolean contains(const GArray *numbers, guint64 number)
{
    for (guint i = 0; i < numbers->len; i++)
        if (g_array_index(numbers, guint64, i) == number)
            return TRUE;
    return FALSE;
}

/* A format node uses its storage node, so that format nodes are removed first. */
static void remove_nodes(const Guest *guest)
{
    gboolean known;
    g_autoptr(GArray) used = used_disks(guest, &known);
    g_autoptr(JsonDocument) reply = NULL;
    const JsonValue *nodes = known ? query(guest, LIST_NODES, &reply) : NULL;

    for (guint pass = 0; pass < 2; pass++)
        for (gsize i = 0; i < json_length(nodes); i++) {
            const char *node = NULL;

            if (!json_get_string(json_at(nodes, i), "node-name", &node, NULL) || disk_number(node) == 0 ||
                contains(used, disk_number(node)))
                continue;
            if (g_str_has_suffix(node, pass == 0 ? "-format" : "-storage"))
                remove_one(guest, "blockdev-del", "node-name", node);
        }
}

void vmm_remove_leftovers(Vmm *vmm, virDomainPtr domain)
{
    Guest guest = {vmm, virDomainGetName(domain), virDomainGetXMLDesc(domain, 0)};

    if (guest.description == NULL)
        return;
    remove_devices(&guest);
    remove_chardevs(&guest);
    remove_nodes(&guest);
    free(guest.description);
}
