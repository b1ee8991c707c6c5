/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt doctor: what it reads from texts, and what it finds in a root directory that the test makes. */
#include <string.h>

#include "cri-server/cli/doctor.h"
#include "tests/unit/harness.h"

static void knows_modules(void)
{
    static const char list[] =
        "kernel/net/sched/act_mirred.ko.xz:\nkernel/net/sched/cls_u32.ko: kernel/a.ko\n"
        "kernel/drivers/net/tun.ko";

    CU_ASSERT_TRUE(doctor_list_has_module(list, "act_mirred"));
    CU_ASSERT_TRUE(doctor_list_has_module(list, "cls_u32"));
    CU_ASSERT_TRUE(doctor_list_has_module(list, "tun"));
    CU_ASSERT_FALSE(doctor_list_has_module(list, "sch_ingress"));
    CU_ASSERT_FALSE(doctor_list_has_module(list, "un"));
}

static void reads_cni_types(void)
{
    g_auto(GStrv) list =
        doctor_cni_types("{\"plugins\":[{\"type\":\"bridge\"},{\"x\":1},{\"type\":\"portmap\"}]}");
    g_auto(GStrv) single = doctor_cni_types("{\"type\":\"ptp\"}");

    CU_ASSERT_PTR_NOT_NULL_FATAL(list);
    CU_ASSERT_EQUAL(g_strv_length(list), 2);
    CU_ASSERT_STRING_EQUAL(list[1], "portmap");
    CU_ASSERT_PTR_NOT_NULL_FATAL(single);
    CU_ASSERT_STRING_EQUAL(single[0], "ptp");
    CU_ASSERT_PTR_NULL(doctor_cni_types("[]"));
    CU_ASSERT_PTR_NULL(doctor_cni_types("{\"plugins\":[]}"));
    CU_ASSERT_PTR_NULL(doctor_cni_types("{"));
}

static const DoctorFinding *find(const GPtrArray *findings, const char *subject)
{
    for (guint i = 0; i < findings->len; i++)
        if (g_str_equal(((DoctorFinding *)findings->pdata[i])->subject, subject))
            return findings->pdata[i];
    return NULL;
}

static void expect(const GPtrArray *findings, const char *subject, DoctorVerdict verdict, const char *text)
{
    const DoctorFinding *finding = find(findings, subject);

    CU_ASSERT_PTR_NOT_NULL_FATAL(finding);
    CU_ASSERT_EQUAL(finding->verdict, verdict);
    CU_ASSERT_PTR_NOT_NULL(strstr(finding->finding, text));
    CU_ASSERT_EQUAL(finding->remedy != NULL, verdict != DOCTOR_GOOD);
}

static void examines_a_node(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *conflist = g_build_filename(directory, "10-a.conflist", NULL);
    g_autofree char *bad = g_build_filename(directory, "templates", "0123456789abcdef.bad", NULL);
    g_autofree char *reason = g_build_filename(bad, "reason", NULL);
    g_autofree char *next_try = g_build_filename(bad, "next-try", NULL);
    const char *plugin_dirs[] = {directory, NULL};
    Settings settings = {
        .hypervisor = {.accelerator = "tcg",
                       .libvirt_uri = "embed",
                       .qemu = "/nonexistent/qemu-system-x86_64",
                       .qemu_user = "no-such-user",
                       .qemu_group = "no-such-group"},
        .guest = {.kernel = conflist, .initrd = "/nonexistent/initrd"},
        .network = {.cni_config_dir = directory, .cni_plugin_dirs = plugin_dirs},
        .server = {.state_dir = directory},
        .host = {.pods = "always", .agent = "/nonexistent/agent"},
    };
    g_autoptr(GPtrArray) handlers = g_ptr_array_new();
    g_autoptr(GPtrArray) findings = NULL;

    settings.handlers = handlers;
    g_file_set_contents(conflist, "{\"plugins\":[{\"type\":\"bridge\"}]}", -1, NULL);
    CU_ASSERT_EQUAL(g_mkdir_with_parents(bad, 0700), 0);
    g_file_set_contents(reason, "its digest differs", -1, NULL);
    g_file_set_contents(next_try, "2030-01-31T12:00:00Z", -1, NULL);
    findings = doctor_examine(&settings);
    expect(findings, "QEMU", DOCTOR_BAD, "cannot run /nonexistent/qemu-system-x86_64: No such file");
    expect(findings, "QEMU's user", DOCTOR_BAD, "no-such-user");
    expect(findings, "guest kernel", DOCTOR_GOOD, "10-a.conflist");
    expect(findings, "guest initramfs", DOCTOR_BAD, "/nonexistent/initrd");
    expect(findings, "CNI configuration", DOCTOR_GOOD, "10-a.conflist");
    expect(findings, "CNI plugin", DOCTOR_BAD, "bridge is in none of");
    expect(findings, "host pods", DOCTOR_WARNING, "/nonexistent/agent");
    expect(findings, "template", DOCTOR_WARNING, "0123456789abcdef.bad is quarantined: its digest differs");
    CU_ASSERT_PTR_NOT_NULL(strstr(find(findings, "template")->remedy, "after 2030-01-31T12:00:00Z"));
    CU_ASSERT_PTR_NOT_NULL(find(findings, "disk space"));
    CU_ASSERT_PTR_NOT_NULL(find(findings, "libvirt's QEMU driver"));
    for (guint i = 0; i < findings->len; i++) /* crivirt writes its layers itself */
        CU_ASSERT_PTR_NULL(strstr(((DoctorFinding *)findings->pdata[i])->subject, "erofs"));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"a kernel's list of modules is searched for whole names", knows_modules},
        {"the plugins of a CNI configuration are found, and none in other text", reads_cni_types},
        {"each thing that a node lacks is reported with a remedy", examines_a_node},
    };

    return test_main_args("doctor", cases, G_N_ELEMENTS(cases), argc, argv);
}
