/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "sandbox/oci/oci_parts.h"
#include "tests/unit/harness.h"

/* The text of "devices" and of the rules for one device. */
static gboolean put(Runtime__V1__Device *device, char **ret_text, GError **error)
{
    Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    OciSpecInput input = {.config = &config};
    g_autoptr(JsonWriter) json = json_writer_new();
    gboolean good;

    config.n_devices = 1;
    config.devices = &device;
    json_writer_open_object(json, NULL);
    good = oci_put_devices(json, &input, error);
    if (good) {
        json_writer_open_array(json, "rules");
        oci_put_device_rules(json, &input);
        json_writer_close_array(json);
        json_writer_close_object(json);
        *ret_text = json_writer_copy(json);
    }
    return good;
}

static void guest_devices_are_given(void)
{
    Runtime__V1__Device device = RUNTIME__V1__DEVICE__INIT;
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;

    device.host_path = (char *)"/dev/fuse";
    device.container_path = (char *)"/dev/my-fuse";
    device.permissions = (char *)"rw";
    TEST_OK(put(&device, &text, &error), error);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(text, "\"path\":\"/dev/my-fuse\",\"type\":\"c\",\"major\":10,\"minor\":229"));
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"minor\":229,\"access\":\"rw\""));
    device.host_path = (char *)"/dev/sda";
    TEST_FAILS(put(&device, &text, &error), error, STATUS_UNIMPLEMENTED, "/dev/sda");
    device.host_path = (char *)"/dev/fuse";
    device.permissions = (char *)"rx";
    TEST_FAILS(put(&device, &text, &error), error, STATUS_INVALID_ARGUMENT, "rx");
    device.permissions = (char *)"r";
    device.container_path = (char *)"fuse";
    TEST_FAILS(put(&device, &text, &error), error, STATUS_INVALID_ARGUMENT, "container_path");
}

static void blocks_are_given(void)
{
    Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__Device device = RUNTIME__V1__DEVICE__INIT;
    Runtime__V1__Device *devices[] = {&device};
    const OciBlockDevice blocks[] = {
        {.path = "/dev/xvda", .permissions = "r", .major = 8, .minor = 32, .mode = 0660, .gid = 6},
    };
    OciSpecInput input = {.config = &config, .blocks = blocks, .n_blocks = 1};
    g_autoptr(JsonWriter) json = json_writer_new();
    g_autoptr(JsonWriter) rules = json_writer_new();
    g_autoptr(GError) error = NULL;

    device.host_path = (char *)"/dev/mapper/volume";
    device.container_path = (char *)"/dev/xvda";
    config.n_devices = 1;
    config.devices = devices;
    json_writer_open_object(json, NULL);
    TEST_OK(oci_put_devices(json, &input, &error), error);
    json_writer_close_object(json);
    CU_ASSERT_PTR_NOT_NULL(strstr(json_writer_text(json, NULL),
                                  "[{\"path\":\"/dev/xvda\",\"type\":\"b\",\"major\":8,\"minor\":32,"
                                  "\"fileMode\":432,\"uid\":0,\"gid\":6}]"));
    json_writer_open_array(rules, NULL);
    oci_put_device_rules(rules, &input);
    json_writer_close_array(rules);
    CU_ASSERT_PTR_NOT_NULL(
        strstr(json_writer_text(rules, NULL), "\"type\":\"b\",\"major\":8,\"minor\":32,\"access\":\"r\""));
}

int main(void)
{
    static const TestCase cases[] = {
        {"a disk of the guest is a block device of the container, with the permissions of the request",
         blocks_are_given},
        {"devices that the guest has are given, devices of the node are refused", guest_devices_are_given},
    };

    return test_main("oci_devices", cases, G_N_ELEMENTS(cases));
}
