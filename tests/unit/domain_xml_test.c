/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/domain_xml.h"

#include <string.h>

#include "tests/unit/harness.h"

/* CRIVIRT_UPDATE_GOLDEN=1 rewrites the files; check the difference before you commit it. */
static void check_golden(const char *file, char *xml)
{
    g_autofree char *path = g_build_filename(TEST_DATA, "domain-xml", file, NULL);
    g_autofree char *wanted = NULL;

    if (g_getenv("CRIVIRT_UPDATE_GOLDEN") != NULL)
        g_file_set_contents(path, xml, -1, NULL);
    CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &wanted, NULL, NULL));
    CU_ASSERT_STRING_EQUAL(xml, wanted);
    if (strcmp(xml, wanted) != 0)
        g_printerr("%s differs:\n%s", path, xml);
    g_free(xml);
}

static DomainSpec plain(const char *architecture)
{
    return (DomainSpec){
        .name = "4f1c9f20aa0b4c5d8e7f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5",
        .architecture = architecture,
        .memory_bytes = 256ULL << 20,
        .vcpus = 1,
        .kernel = "/usr/lib/crivirt/vmlinux",
        .initrd = "/usr/lib/crivirt/initrd.img",
        .agent_socket = "/run/crivirt/agent.sock",
        .console_path = "/run/crivirt/console.log",
    };
}

static void emulated_x86(void)
{
    DomainSpec spec = plain("x86_64");

    spec.tcg_buffer_mib = 64;
    spec.time_stamp_khz = 2596132;
    check_golden("x86_64-emulated.xml", domain_xml_build(&spec));
}

/* A VM into which a state is restored, and whose guest notices by its generation that it is a clone. */
static void incoming_x86(void)
{
    DomainSpec spec = plain("x86_64");

    spec.generation = "6f6d2bbd-184e-4348-a600-24ec7f0903d0";
    spec.incoming = TRUE;
    check_golden("x86_64-incoming.xml", domain_xml_build(&spec));
}

static CpuLeaf everything[] = {
    {1, 0, {0, 0, G_MAXUINT32, 0}},          {7, 0, {0, G_MAXUINT32, G_MAXUINT32, G_MAXUINT32}},
    {0xd, 1, {G_MAXUINT32, 0, 0, 0}},        {0x80000001, 0, {0, 0, G_MAXUINT32, G_MAXUINT32}},
    {0x80000008, 0, {0, G_MAXUINT32, 0, 0}}, {0x40000001, 0, {G_MAXUINT32, 0, 0, 0}},
};

/* A guest that was saved on a node with another rate of the time stamp counter. */
static void baseline_x86(void)
{
    DomainSpec spec = plain("x86_64");
    g_auto(CpuFacts) facts = {.accelerated = TRUE, .vendor = "GenuineIntel", .family = 6};
    g_autoptr(CpuBaseline) baseline = NULL;

    facts.leaves = g_array_new(FALSE, FALSE, sizeof(CpuLeaf));
    g_array_append_vals(facts.leaves, everything, G_N_ELEMENTS(everything));
    baseline = cpu_baseline_new("x86-64-v4", &facts, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(baseline);
    spec.accelerated = TRUE;
    spec.incoming = TRUE;
    spec.baseline = baseline;
    spec.saved_time_stamp_khz = 2596132;
    check_golden("x86_64-baseline.xml", domain_xml_build(&spec));
}

static void emulated_baseline_x86(void)
{
    DomainSpec spec = plain("x86_64");
    const CpuFacts facts = {0};
    g_autoptr(CpuBaseline) baseline = cpu_baseline_new("x86-64-v3", &facts, NULL);

    CU_ASSERT_PTR_NOT_NULL_FATAL(baseline);
    spec.baseline = baseline;
    spec.saved_time_stamp_khz = 2596132; /* has no effect there */
    check_golden("x86_64-baseline-emulated.xml", domain_xml_build(&spec));
}

/* QEMU has the device for x86 only. */
static void generation_where_it_is(void)
{
    DomainSpec spec = plain("aarch64");
    g_autofree char *xml = NULL;

    spec.generation = "6f6d2bbd-184e-4348-a600-24ec7f0903d0";
    xml = domain_xml_build(&spec);
    CU_ASSERT_PTR_NULL(strstr(xml, "genid"));
}

static void full_x86(void)
{
    static const DiskSpec disks[] = {{0, "/var/lib/crivirt/upper.img", "upper", FALSE},
                                     {1, "/var/lib/crivirt/layer.erofs", "layer-1", TRUE},
                                     {2, "/dev/loop7", NULL, TRUE}};
    DomainSpec spec = plain("x86_64");

    spec.accelerated = TRUE;
    spec.tcg_buffer_mib = 64; /* has no effect with KVM */
    spec.time_stamp_khz = 2596132;
    spec.passthrough_ports = 2;
    spec.user = 2000000007;
    spec.emulator = "/usr/lib/crivirt/qemu-system-x86_64";
    spec.title = "default/web";
    spec.owner = "/var/lib/crivirt";
    spec.vcpus = 4;
    spec.max_vcpus = 16;
    spec.pluggable_memory_bytes = 1024ULL << 20;
    spec.plugged_memory_bytes = 64ULL << 20;
    spec.kernel_parameters = "systemd.unified_cgroup_hierarchy=1";
    spec.tap = "tap0";
    spec.mac = "52:54:00:12:34:56";
    spec.disks = disks;
    spec.n_disks = G_N_ELEMENTS(disks);
    check_golden("x86_64-accelerated-full.xml", domain_xml_build(&spec));
}

static void network_in_qemu(void)
{
    DomainSpec spec = plain("x86_64");
    g_autofree char *in_kernel = NULL;
    g_autofree char *in_qemu = NULL;

    spec.accelerated = TRUE;
    spec.tap = "tap0";
    spec.mac = "52:54:00:12:34:56";
    in_kernel = domain_xml_build(&spec);
    spec.network_in_qemu = TRUE;
    in_qemu = domain_xml_build(&spec);
    CU_ASSERT_PTR_NULL(strstr(in_kernel, "<driver name='qemu'/>"));
    CU_ASSERT_PTR_NOT_NULL(
        strstr(in_qemu, "<model type='virtio-non-transitional'/><driver name='qemu'/><rom"));
}

static void emulated_arm(void)
{
    DomainSpec spec = plain("aarch64");

    spec.time_stamp_khz = 2596132; /* has no effect there */
    check_golden("aarch64-emulated.xml", domain_xml_build(&spec));
}

static void accelerated_arm(void)
{
    DomainSpec spec = plain("aarch64");

    spec.accelerated = TRUE;
    spec.initrd = NULL;
    check_golden("aarch64-accelerated.xml", domain_xml_build(&spec));
}

static void escapes(void)
{
    static const DiskSpec disk = {0, "/a&b/<c>'d\"", "s'><x", FALSE};
    DomainSpec spec = plain("x86_64");

    spec.title = "ns/<pod> & 'co'";
    spec.owner = "/state&dir";
    spec.kernel = "/k'/><kernel>";
    spec.kernel_parameters = "a=\"<b>\"";
    spec.disks = &disk;
    spec.n_disks = 1;
    check_golden("escaped.xml", domain_xml_build(&spec));
}

static void devices(void)
{
    static const DiskSpec layer = {700, "/layers/abc.erofs", "abc", TRUE};
    static const ShareSpec share = {"/run/crivirt/share", "volumes"};

    const DiskSpec volume = {.lun = 4, .path = "/x/disk-4", .serial = "cv-4", .lasting = TRUE};

    check_golden("disk-layer.xml", domain_xml_disk(&layer));
    check_golden("disk-volume.xml", domain_xml_disk(&volume));
    check_golden("memory.xml", domain_xml_memory(1024ULL << 20, 64ULL << 20));
    check_golden("hostdev.xml", domain_xml_pci(&(PciAddress){0, 0x3b, 0x1f, 1}));
    check_golden("share.xml", domain_xml_share(&share, "/run/crivirt/x.fs"));
}

static void disk_names_differ(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (guint lun = 0; lun < 1000; lun++) {
        DiskSpec disk = {lun, "/x", NULL, TRUE};
        g_autofree char *xml = domain_xml_disk(&disk);
        char *name = strstr(xml, "<target dev='");

        CU_ASSERT_PTR_NOT_NULL_FATAL(name);
        CU_ASSERT_TRUE(g_hash_table_add(seen, g_strndup(name, strcspn(name, "/"))));
    }
}

static void knows_architectures(void)
{
    CU_ASSERT_TRUE(domain_xml_architecture_known("x86_64"));
    CU_ASSERT_TRUE(domain_xml_architecture_known("aarch64"));
    CU_ASSERT_FALSE(domain_xml_architecture_known("s390x"));
    CU_ASSERT_FALSE(domain_xml_architecture_known(NULL));
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"an emulated x86-64 VM has few devices and a small code buffer", emulated_x86},
        {"a VM that will be restored has a generation id", incoming_x86},
        {"a VM of a baseline has its features, and the rate of the guest that was saved", baseline_x86},
        {"an emulated VM of a baseline has no features of KVM", emulated_baseline_x86},
        {"only architectures with the device have a generation id", generation_where_it_is},
        {"an accelerated VM has a network, disks, and memory and CPUs that can grow", full_x86},
        {"packets stay out of the node's kernel where that is wanted", network_in_qemu},
        {"an emulated aarch64 VM has its own machine type and console", emulated_arm},
        {"an accelerated aarch64 VM can boot without an initramfs", accelerated_arm},
        {"text is escaped", escapes},
        {"a layer, a volume, memory, a share and a PCI device have XML of their own", devices},
        {"every LUN has its own disk name", disk_names_differ},
        {"only architectures of the table are supported", knows_architectures},
    };
    return test_main_args("domain_xml", cases, G_N_ELEMENTS(cases), argc, argv);
}
