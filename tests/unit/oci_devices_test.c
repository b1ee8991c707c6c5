#include <string.h>
#include <yajl/yajl_gen.h>

#include "common/error.h"
#include "sandbox/oci_parts.h"
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

int main(void)
{
    static const TestCase cases[] = {
        {"devices of the guest are given, those of the node alone are refused", guest_devices_are_given},
    };

    return test_main("oci_devices", cases, G_N_ELEMENTS(cases));
}
