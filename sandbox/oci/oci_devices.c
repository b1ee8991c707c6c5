/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "sandbox/host/vfio.h"
#include "sandbox/oci/oci_parts.h"

typedef Runtime__V1__Device Device;

/* Character devices with the same numbers on every Linux: the container gets those of the guest. */
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

/* Return: the row of the device with that host_path; -1: none. */
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

static void put_block(JsonWriter *json, const OciBlockDevice *block)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "path", block->path);
    json_writer_string(json, "type", "b");
    json_writer_int(json, "major", block->major);
    json_writer_int(json, "minor", block->minor);
    json_writer_int(json, "fileMode", block->mode);
    json_writer_int(json, "uid", block->uid);
    json_writer_int(json, "gid", block->gid);
    json_writer_close_object(json);
}

static void put_rule(JsonWriter *json, const char *type, gint64 major, gint64 minor, const char *access)
{
    json_writer_open_object(json, NULL);
    json_writer_bool(json, "allow", TRUE);
    json_writer_string(json, "type", type);
    json_writer_int(json, "major", major);
    json_writer_int(json, "minor", minor);
    json_writer_string(json, "access", *access != '\0' ? access : "rwm");
    json_writer_close_object(json);
}

static gboolean device_check(const Device *device, gboolean block, GError **error)
{
    guint group; /* devices below /dev/vfio are passed through to the guest (container_vfio.c) */

    if (*device->container_path != '/')
        return fail(error, STATUS_INVALID_ARGUMENT, "config.devices: container_path \"%s\" is not absolute",
                    device->container_path);
    if (device->permissions[strspn(device->permissions, "rwm")] != '\0')
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "config.devices: permissions \"%s\" of %s have letters other than r, w and m",
                    device->permissions, device->container_path);
    if (!block && !vfio_path_parse(device->host_path, &group) && find_device(device) < 0)
        return fail(error, STATUS_UNIMPLEMENTED,
                    "config.devices: %s is a device of the node, which a VM pod does not have",
                    device->host_path);
    return TRUE;
}

/* ---- devices of the node ---- */

static void put_numbers(JsonWriter *json, const NodeDevice *device)
{
    const char type[] = {device->type, '\0'};

    json_writer_string(json, "type", type);
    json_writer_int(json, "major", device->major);
    json_writer_int(json, "minor", device->minor);
}

static void put_node_devices(JsonWriter *json, const GArray *devices)
{
    for (guint i = 0; i < devices->len; i++) {
        const NodeDevice *device = &g_array_index(devices, NodeDevice, i);

        json_writer_open_object(json, NULL);
        json_writer_string(json, "path", device->path);
        put_numbers(json, device);
        json_writer_int(json, "fileMode", device->mode);
        json_writer_int(json, "uid", device->uid);
        json_writer_int(json, "gid", device->gid);
        json_writer_close_object(json);
    }
}

static void put_node_rules(JsonWriter *json, const GArray *devices)
{
    for (guint i = 0; i < devices->len; i++) {
        const NodeDevice *device = &g_array_index(devices, NodeDevice, i);

        json_writer_open_object(json, NULL);
        json_writer_bool(json, "allow", TRUE);
        put_numbers(json, device);
        json_writer_string(json, "access", device->access);
        json_writer_close_object(json);
    }
}

/* ---- devices of the guest ---- */

static void put_guest_device(JsonWriter *json, gsize row, const char *container_path)
{
    json_writer_open_object(json, NULL);
    json_writer_string(json, "path", container_path);
    json_writer_string(json, "type", "c");
    json_writer_int(json, "major", guest_devices[row].major);
    json_writer_int(json, "minor", guest_devices[row].minor);
    json_writer_int(json, "fileMode", 0666);
    json_writer_close_object(json);
}

static gboolean is_asked_for(const OciSpecInput *input, const char *container_path)
{
    for (size_t i = 0; i < input->config->n_devices; i++)
        if (g_str_equal(input->config->devices[i]->container_path, container_path))
            return TRUE;
    return FALSE;
}

/* A privileged container has all devices of the guest. */
static void put_privileged(JsonWriter *json, const OciSpecInput *input)
{
    for (gsize row = 0; row < G_N_ELEMENTS(guest_devices); row++)
        if (!guest_devices[row].usual && !is_asked_for(input, guest_devices[row].path))
            put_guest_device(json, row, guest_devices[row].path);
}

gboolean oci_put_devices(JsonWriter *json, const OciSpecInput *input, GError **error)
{
    json_writer_open_array(json, "devices");
    if (input->node != NULL) {
        put_node_devices(json, input->node->devices);
        json_writer_close_array(json);
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
    json_writer_close_array(json);
    return TRUE;
}

void oci_put_device_rules(JsonWriter *json, const OciSpecInput *input)
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
