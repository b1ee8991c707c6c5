#include <string.h>

#include "common/error.h"
#include "sandbox/host/vfio.h"
#include "sandbox/oci/oci_json.h"
#include "sandbox/oci/oci_parts.h"

typedef Runtime__V1__Device Device;

/* Character devices that every Linux has under the same numbers: the guest gives its own. */
static const struct {
    const char *path;
    gint64 major;
    gint64 minor;
    gboolean usual; /* every container has it */
} guest_devices[] = {
    {"/dev/null", 1, 3, TRUE},   {"/dev/zero", 1, 5, TRUE},        {"/dev/full", 1, 7, TRUE},
    {"/dev/random", 1, 8, TRUE}, {"/dev/urandom", 1, 9, TRUE},     {"/dev/tty", 5, 0, TRUE},
    {"/dev/kmsg", 1, 11, FALSE}, {"/dev/net/tun", 10, 200, FALSE}, {"/dev/fuse", 10, 229, FALSE},
};

/* The row of a device's host_path, or -1. */
static gssize find_device(const Device *device)
{
    for (gsize i = 0; i < G_N_ELEMENTS(guest_devices); i++)
        if (g_str_equal(guest_devices[i].path, device->host_path))
            return (gssize)i;
    return -1;
}

static gboolean is_block(const OciSpecInput *input, guint index)
{
    for (guint i = 0; i < input->n_blocks; i++)
        if (!input->blocks[i].is_mount && input->blocks[i].index == index)
            return TRUE;
    return FALSE;
}

static void put_block(yajl_gen json, const OciBlockDevice *block)
{
    yajl_gen_map_open(json);
    oci_json_put_pair(json, "path", block->path);
    oci_json_put_pair(json, "type", "b");
    oci_json_put_int(json, "major", block->major);
    oci_json_put_int(json, "minor", block->minor);
    oci_json_put_int(json, "fileMode", block->mode);
    oci_json_put_int(json, "uid", block->uid);
    oci_json_put_int(json, "gid", block->gid);
    yajl_gen_map_close(json);
}

static void put_rule(yajl_gen json, const char *type, gint64 major, gint64 minor, const char *access)
{
    yajl_gen_map_open(json);
    oci_json_put_bool(json, "allow", TRUE);
    oci_json_put_pair(json, "type", type);
    oci_json_put_int(json, "major", major);
    oci_json_put_int(json, "minor", minor);
    oci_json_put_pair(json, "access", *access != '\0' ? access : "rwm");
    yajl_gen_map_close(json);
}

static gboolean device_check(const Device *device, gboolean block, GError **error)
{
    guint group; /* what is below /dev/vfio has become the guest's (container_vfio.c) */

    if (*device->container_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.devices: container_path \"%s\" is not absolute",
                    device->container_path);
    if (device->permissions[strspn(device->permissions, "rwm")] != '\0')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.devices: permissions \"%s\" of %s are not of r, w, m", device->permissions,
                    device->container_path);
    if (!block && !vfio_path_parse(device->host_path, &group) && find_device(device) < 0)
        return fail(
            error, STATUS_UNIMPLEMENTED,
            "config.devices: %s is a device of the node, which a pod in a virtual machine does not have",
            device->host_path);
    return TRUE;
}

/* ---- of the node ---- */

static void put_numbers(yajl_gen json, const NodeDevice *device)
{
    const char type[] = {device->type, '\0'};

    oci_json_put_pair(json, "type", type);
    oci_json_put_int(json, "major", device->major);
    oci_json_put_int(json, "minor", device->minor);
}

static void put_node_devices(yajl_gen json, const GArray *devices)
{
    for (guint i = 0; i < devices->len; i++) {
        const NodeDevice *device = &g_array_index(devices, NodeDevice, i);

        yajl_gen_map_open(json);
        oci_json_put_pair(json, "path", device->path);
        put_numbers(json, device);
        oci_json_put_int(json, "fileMode", device->mode);
        oci_json_put_int(json, "uid", device->uid);
        oci_json_put_int(json, "gid", device->gid);
        yajl_gen_map_close(json);
    }
}

static void put_node_rules(yajl_gen json, const GArray *devices)
{
    for (guint i = 0; i < devices->len; i++) {
        const NodeDevice *device = &g_array_index(devices, NodeDevice, i);

        yajl_gen_map_open(json);
        oci_json_put_bool(json, "allow", TRUE);
        put_numbers(json, device);
        oci_json_put_pair(json, "access", device->access);
        yajl_gen_map_close(json);
    }
}

/* ---- of the guest ---- */

static void put_guest_device(yajl_gen json, gsize row, const char *container_path)
{
    yajl_gen_map_open(json);
    oci_json_put_pair(json, "path", container_path);
    oci_json_put_pair(json, "type", "c");
    oci_json_put_int(json, "major", guest_devices[row].major);
    oci_json_put_int(json, "minor", guest_devices[row].minor);
    oci_json_put_int(json, "fileMode", 0666);
    yajl_gen_map_close(json);
}

static gboolean is_asked_for(const OciSpecInput *input, const char *container_path)
{
    for (size_t i = 0; i < input->config->n_devices; i++)
        if (g_str_equal(input->config->devices[i]->container_path, container_path))
            return TRUE;
    return FALSE;
}

/* A privileged container has what the guest has. */
static void put_privileged(yajl_gen json, const OciSpecInput *input)
{
    for (gsize row = 0; row < G_N_ELEMENTS(guest_devices); row++)
        if (!guest_devices[row].usual && !is_asked_for(input, guest_devices[row].path))
            put_guest_device(json, row, guest_devices[row].path);
}

gboolean oci_put_devices(yajl_gen json, const OciSpecInput *input, GError **error)
{
    oci_json_put_array(json, "devices");
    if (input->node != NULL) {
        put_node_devices(json, input->node->devices);
        yajl_gen_array_close(json);
        return TRUE;
    }
    for (size_t i = 0; i < input->config->n_devices; i++) {
        const Device *device = input->config->devices[i];
        gssize row = find_device(device);

        if (!device_check(device, is_block(input, (guint)i), error))
            return FALSE;
        if (row >= 0)
            put_guest_device(json, (gsize)row, device->container_path);
    }
    if (oci_security(input)->privileged)
        put_privileged(json, input);
    for (guint i = 0; i < input->n_blocks; i++)
        put_block(json, &input->blocks[i]);
    yajl_gen_array_close(json);
    return TRUE;
}

void oci_put_device_rules(yajl_gen json, const OciSpecInput *input)
{
    if (input->node != NULL) {
        put_node_rules(json, input->node->devices);
        return;
    }
    for (size_t i = 0; i < input->config->n_devices; i++) {
        const Device *device = input->config->devices[i];
        gssize row = find_device(device);

        if (row >= 0)
            put_rule(json, "c", guest_devices[row].major, guest_devices[row].minor, device->permissions);
    }
    for (guint i = 0; i < input->n_blocks; i++)
        put_rule(json, "b", input->blocks[i].major, input->blocks[i].minor, input->blocks[i].permissions);
}
