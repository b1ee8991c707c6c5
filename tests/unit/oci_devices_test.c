#include <string.h>
#include <yajl/yajl_gen.h>

#include "common/error.h"
#include "sandbox/oci/oci_parts.h"
#include "tests/unit/harness.h"

/* The text of "devices" and of the rules for one device. */
static gboolean put(Runtime__V1__Device *device, char **ret_text, GError **error)
{
    Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    OciSpecInput input = {.config = &config};
    yajl_gen json = yajl_gen_alloc(NULL);
    const unsigned char *text;
    size_t length;
    gboolean good;

    config.n_devices = 1;
    config.devices = &device;
    yajl_gen_map_open(json);
    good = oci_put_devices(json, &input, error);
    if (good) {
        const unsigned char *key = (const unsigned char *)"rules";

        yajl_gen_string(json, key, 5);
        yajl_gen_array_open(json);
        oci_put_device_rules(json, &input);
        yajl_gen_array_close(json);
        yajl_gen_map_close(json);
        yajl_gen_get_buf(json, &text, &length);
        *ret_text = g_strndup((const char *)text, length);
    }
    yajl_gen_free(json);
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
    yajl_gen json = yajl_gen_alloc(NULL);
    const unsigned char *text;
    g_autoptr(GError) error = NULL;
    size_t length;

    device.host_path = (char *)"/dev/mapper/volume";
    device.container_path = (char *)"/dev/xvda";
    config.n_devices = 1;
    config.devices = devices;
    yajl_gen_map_open(json);
    TEST_OK(oci_put_devices(json, &input, &error), error);
    yajl_gen_map_close(json);
    yajl_gen_get_buf(json, &text, &length);
    CU_ASSERT_PTR_NOT_NULL(strstr((const char *)text,
                                  "[{\"path\":\"/dev/xvda\",\"type\":\"b\",\"major\":8,\"minor\":32,"
                                  "\"fileMode\":432,\"uid\":0,\"gid\":6}]"));
    yajl_gen_clear(json);
    yajl_gen_free(json);
    json = yajl_gen_alloc(NULL);
    yajl_gen_array_open(json);
    oci_put_device_rules(json, &input);
    yajl_gen_array_close(json);
    yajl_gen_get_buf(json, &text, &length);
    CU_ASSERT_PTR_NOT_NULL(
        strstr((const char *)text, "\"type\":\"b\",\"major\":8,\"minor\":32,\"access\":\"r\""));
    yajl_gen_free(json);
}

int main(void)
{
    static const TestCase cases[] = {
        {"a disk of the guest's is a block device of the container, with the access that was asked for",
         blocks_are_given},
        {"devices of the guest are given, those of the node alone are refused", guest_devices_are_given},
    };

    return test_main("oci_devices", cases, G_N_ELEMENTS(cases));
}
