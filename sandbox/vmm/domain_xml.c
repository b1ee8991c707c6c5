/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/domain_xml.h"

/* The differences between architectures: a new one is a new row. Devices are on the root bus at fixed slots,
 * so that libvirt adds no bridge for each: a bridge costs QEMU and the guest's PCI scan time and memory. */
typedef struct {
    const char *name;
    const char *machine;
    const char *features;
    const char *cpu_emulated; /* without the closing tag */
    const char *cpu_accelerated;
    const char *timers;
    const char *machine_options; /* for QEMU's -machine, what libvirt's XML cannot express; NULL: none */
    const char *kernel_parameters;
    gboolean has_time_stamp;          /* its clock is a counter whose rate the kernel would have to measure */
    gboolean has_generation;          /* QEMU has a device for the generation */
    gboolean plugs_memory;            /* virtio-mem, which guest kernels have from 6.1 on */
    gboolean restores_without_kernel; /* QEMU's saved state does not depend on -kernel */
} Architecture;

/* qemu64 plus what x86-64-v2 requires, for which current distributions build their programs. Measured by the
 * CPU time of a boot, "max" needs a few per cent more, because programs choose AVX2, which is slow when
 * emulated; so does Nehalem, because its vendor makes the kernel isolate page tables against Meltdown, which
 * emulation does not have. rdrand seeds the guest's random pool at once; smep and smap protect its kernel.
 * erms is left out: with it the kernel copies by "rep movsb", which is emulated byte by byte (through a pipe,
 * 20 ns a byte instead of 3 ns). */
#define FEATURE(name) "<feature policy='require' name='" name "'/>"
#define CPU_X86_EMULATED                                                                                     \
    "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model>" FEATURE("ssse3") \
        FEATURE("sse4.1") FEATURE("sse4.2") FEATURE("popcnt") FEATURE("cx16") FEATURE("lahf_lm")             \
            FEATURE("rdrand") FEATURE("smep") FEATURE("smap") FEATURE("fsgsbase")

/* sata, smbus: no guest has a disk or a sensor there, and the buffers of the SATA controller's six ports take
 * 1.6 MiB of QEMU's memory.
 * earlyprintk: a panic that precedes the console's driver is seen. dummy.numdummies=0: the driver is for
 * containers, and the pod must have no dummy0. tsc=reliable, no_timer_check: emulated clocks need no
 * watchdog; under KVM the kernel skips the timer check by itself, and elsewhere the check takes 40 ms of the
 * boot. */
static const Architecture architectures[] = {
    {
        .name = "x86_64",
        .machine = "q35",
        .features = "<acpi/><apic/>",
        .cpu_emulated = CPU_X86_EMULATED,
        .cpu_accelerated = "<cpu mode='host-passthrough' check='none'>",
        .timers = "<timer name='hpet' present='no'/>",
        .machine_options = "sata=off,smbus=off",
        .kernel_parameters =
            "console=ttyS0 quiet earlyprintk=ttyS0 panic=-1 dummy.numdummies=0 psi=1 rootfstype=ramfs "
            "tsc=reliable no_timer_check "
            "memhp_default_state=online memory_hotplug.online_policy=auto-movable",
        .has_time_stamp = TRUE,
        .has_generation = TRUE,
        .plugs_memory = TRUE,
        .restores_without_kernel = TRUE,
    },
    {
        .name = "aarch64",
        .machine = "virt",
        .features = "<acpi/><gic version='3'/>",
        .cpu_emulated = "<cpu mode='maximum'>",
        .cpu_accelerated = "<cpu mode='host-passthrough' check='none'>",
        .timers = "",
        .kernel_parameters = "console=ttyAMA0 quiet panic=-1 dummy.numdummies=0 psi=1",
    },
};

/* Slots of the root bus. The device of the share is attached and detached while the guest runs, which needs a
 * port: it gets the one root port. */
enum {
    SLOT_SCSI = 2,
    SLOT_SERIAL = 3,
    SLOT_NETWORK = 4,
    SLOT_ROOT_PORT = 5,
    SLOT_PASSTHROUGH = 8,
    SLOT_BALLOON = 6,
    SLOT_MEMORY = 7,
};

static const Architecture *architecture_find(const char *name)
{
    for (guint i = 0; i < G_N_ELEMENTS(architectures); i++)
        if (g_strcmp0(architectures[i].name, name) == 0)
            return &architectures[i];
    return NULL;
}

static void append_escaped(GString *xml, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Escapes the strings among the arguments, but not the format. */
static void append_escaped(GString *xml, const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;

    va_start(arguments, format);
    text = g_markup_vprintf_escaped(format, arguments);
    va_end(arguments);
    g_string_append(xml, text);
}

/* A UUID of version 8 (RFC 9562) from the digest of the name, so that a sandbox always has the same UUID. */
static char *uuid_of_name(const char *name)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    guint8 digest[32];
    gsize length = sizeof(digest);

    g_checksum_update(checksum, (const guchar *)name, -1);
    g_checksum_get_digest(checksum, digest, &length);
    digest[6] = (guint8)((digest[6] & 0x0f) | 0x80);
    digest[8] = (guint8)((digest[8] & 0x3f) | 0x80);
    return g_strdup_printf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", digest[0],
                           digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
                           digest[8], digest[9], digest[10], digest[11], digest[12], digest[13], digest[14],
                           digest[15]);
}

static void add_identity(GString *xml, const DomainSpec *spec, const Architecture *architecture)
{
    g_autofree char *uuid = uuid_of_name(spec->name);

    append_escaped(xml, "<domain type='%s'", spec->accelerated ? "kvm" : "qemu");
    if (spec->incoming || architecture->machine_options != NULL)
        append_escaped(xml, " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'");
    append_escaped(xml, ">\n  <name>%s</name>\n  <uuid>%s</uuid>\n", spec->name, uuid);
    if (spec->generation != NULL && architecture->has_generation)
        append_escaped(xml, "  <genid>%s</genid>\n", spec->generation);
    if (spec->title != NULL)
        append_escaped(xml, "  <title>%s</title>\n", spec->title);
    if (spec->owner != NULL)
        append_escaped(xml,
                       "  <metadata><crivirt:owner xmlns:crivirt='" DOMAIN_XML_NAMESPACE
                       "'>%s</crivirt:owner></metadata>\n",
                       spec->owner);
}

static guint max_vcpus(const DomainSpec *spec)
{
    return MAX(spec->vcpus, spec->max_vcpus);
}

/* The memory is shared, because virtiofsd maps it; also where the share is attached later. */
static void add_resources(GString *xml, const DomainSpec *spec)
{
    if (spec->pluggable_memory_bytes != 0)
        append_escaped(xml, "  <maxMemory slots='1' unit='KiB'>%" G_GUINT64_FORMAT "</maxMemory>\n",
                       (spec->memory_bytes + spec->pluggable_memory_bytes) / 1024);
    append_escaped(xml, "  <memory unit='KiB'>%" G_GUINT64_FORMAT "</memory>\n", spec->memory_bytes / 1024);
    append_escaped(xml, "  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>\n");
    if (max_vcpus(spec) > spec->vcpus)
        append_escaped(xml, "  <vcpu current='%u'>%u</vcpu>\n", spec->vcpus, max_vcpus(spec));
    else
        append_escaped(xml, "  <vcpu>%u</vcpu>\n", spec->vcpus);
}

/* A guest that is restored has its kernel in its memory, and is never started again (add_endings()). QEMU
 * would map the kernel's file and copy parts of it, which takes more time than the rest of QEMU's start. */
static gboolean needs_kernel(const DomainSpec *spec, const Architecture *architecture)
{
    return !spec->incoming || !architecture->restores_without_kernel;
}

/* Without NAPI for sending, the network driver asks for no interrupt when the node has taken a frame. There
 * would be about one for each frame, several exits each, which emulated and nested virtualisation make dear.
 * The driver then lets go of a frame's socket as soon as the frame is in the ring, which is what happens to
 * frames of other runtimes' pods where they leave the pod's namespace. The administrator's parameters, which
 * come later, win. */
#define NO_INTERRUPTS_OF_SENT_FRAMES " virtio_net.napi_tx=0"

static void add_kernel(GString *xml, const DomainSpec *spec, const Architecture *architecture)
{
    append_escaped(xml, "    <kernel>%s</kernel>\n", spec->kernel);
    if (spec->initrd != NULL)
        append_escaped(xml, "    <initrd>%s</initrd>\n", spec->initrd);
    append_escaped(xml, "    <cmdline>%s" NO_INTERRUPTS_OF_SENT_FRAMES, architecture->kernel_parameters);
    if (architecture->has_time_stamp && !spec->accelerated && spec->time_stamp_khz != 0)
        append_escaped(xml, " tsc_early_khz=%u", spec->time_stamp_khz);
    if (spec->kernel_parameters != NULL && *spec->kernel_parameters != '\0')
        append_escaped(xml, " %s", spec->kernel_parameters);
    append_escaped(xml, "</cmdline>\n");
}

static void add_boot(GString *xml, const DomainSpec *spec, const Architecture *architecture)
{
    append_escaped(xml, "  <os>\n    <type arch='%s' machine='%s'>hvm</type>\n", architecture->name,
                   architecture->machine);
    if (needs_kernel(spec, architecture))
        add_kernel(xml, spec, architecture);
    append_escaped(xml, "  </os>\n");
}

/* One NUMA node with all memory, which repeats that it is shared: libvirt attaches a share only to shared
 * memory, and for a domain of an earlier daemon it has a record of that only here. */
static void add_memory_node(GString *xml, const DomainSpec *spec)
{
    append_escaped(xml,
                   "<numa><cell id='0' cpus='0-%u' memory='%" G_GUINT64_FORMAT
                   "' unit='KiB' memAccess='shared'/></numa>",
                   max_vcpus(spec) - 1, spec->memory_bytes / 1024);
}

/* qemu64 has what every x86-64 has, and the rest is exactly what the baseline says (add_arguments()): QEMU
 * refuses to start a guest with less. */
static void add_baseline(GString *xml, const CpuBaseline *baseline)
{
    append_escaped(xml,
                   "<cpu mode='custom' match='exact' check='none'><model fallback='forbid' vendor_id='%s'>"
                   "qemu64</model><feature policy='disable' name='svm'/>",
                   baseline->vendor);
    for (guint i = 0; i < baseline->features->len; i++)
        append_escaped(xml, "<feature policy='require' name='%s'/>",
                       (const char *)baseline->features->pdata[i]);
}

static void add_timers(GString *xml, const DomainSpec *spec, const Architecture *architecture)
{
    g_string_append(xml, architecture->timers);
    if (architecture->has_time_stamp && spec->accelerated && spec->saved_time_stamp_khz != 0)
        append_escaped(xml, "<timer name='tsc' frequency='%" G_GUINT64_FORMAT "'/>",
                       (guint64)spec->saved_time_stamp_khz * 1000);
}

static void add_processor(GString *xml, const DomainSpec *spec, const Architecture *architecture)
{
    append_escaped(xml, "  <features>");
    g_string_append(xml, architecture->features);
    if (!spec->accelerated && spec->tcg_buffer_mib != 0)
        append_escaped(xml, "<tcg><tb-cache unit='MiB'>%u</tb-cache></tcg>", spec->tcg_buffer_mib);
    append_escaped(xml, "</features>\n  ");
    if (spec->baseline != NULL)
        add_baseline(xml, spec->baseline);
    else
        g_string_append(xml, spec->accelerated ? architecture->cpu_accelerated : architecture->cpu_emulated);
    add_memory_node(xml, spec);
    append_escaped(xml, "</cpu>\n  <clock offset='utc'>");
    add_timers(xml, spec, architecture);
    append_escaped(xml, "</clock>\n");
}

/* A guest is never started again: every end of it ends the domain. */
static void add_endings(GString *xml)
{
    append_escaped(xml, "  <on_poweroff>destroy</on_poweroff>\n  <on_reboot>destroy</on_reboot>\n"
                        "  <on_crash>destroy</on_crash>\n");
}

static void add_address(GString *xml, guint slot)
{
    append_escaped(xml, "<address type='pci' bus='0x00' slot='0x%02x'/>", slot);
}

static void add_indented(GString *xml, char *device)
{
    g_string_append_printf(xml, "    %s\n", device);
    g_free(device);
}

static void add_controllers(GString *xml, const DomainSpec *spec)
{
    append_escaped(xml, "    <controller type='usb' model='none'/>\n");
    append_escaped(xml, "    <controller type='scsi' index='0' model='virtio-non-transitional'>");
    add_address(xml, SLOT_SCSI);
    append_escaped(
        xml, "</controller>\n    <controller type='virtio-serial' index='0' model='virtio-non-transitional' "
             "ports='2' vectors='3'>");
    add_address(xml, SLOT_SERIAL);
    append_escaped(xml, "</controller>\n    <controller type='pci' index='0' model='pcie-root'/>\n"
                        "    <controller type='pci' index='1' model='pcie-root-port'>");
    add_address(xml, SLOT_ROOT_PORT);
    append_escaped(xml, "</controller>\n");
    for (guint i = 0; i < spec->passthrough_ports; i++) {
        append_escaped(xml, "    <controller type='pci' index='%u' model='pcie-root-port'>", 2 + i);
        add_address(xml, SLOT_PASSTHROUGH + i);
        append_escaped(xml, "</controller>\n");
    }
}

/* The balloon is never inflated: through it the guest reports the pages that it has freed. */
static void add_memory_devices(GString *xml, const DomainSpec *spec)
{
    append_escaped(xml, "    <memballoon model='virtio-non-transitional' freePageReporting='on'>");
    add_address(xml, SLOT_BALLOON);
    append_escaped(xml, "</memballoon>\n");
    if (spec->pluggable_memory_bytes != 0)
        add_indented(xml, domain_xml_memory(spec->pluggable_memory_bytes, spec->plugged_memory_bytes));
}

static void add_channels(GString *xml, const DomainSpec *spec)
{
    append_escaped(xml,
                   "    <channel type='unix'><source mode='bind' path='%s'/>"
                   "<target type='virtio' name='org.crivirt.agent.0'/></channel>\n",
                   spec->agent_socket);
    append_escaped(xml, "    <serial type='file'><source path='%s' append='on'/></serial>\n",
                   spec->console_path);
}

/* managed='no': cni-bridge has made the tap. Unless a driver is named, libvirt opens /dev/vhost-net for a VM
 * under KVM and passes it on, so that QEMU needs no access to the device; without the device QEMU does the
 * work. */
static void add_network(GString *xml, const DomainSpec *spec)
{
    if (spec->tap == NULL)
        return;
    append_escaped(xml,
                   "    <interface type='ethernet'><mac address='%s'/><target dev='%s' managed='no'/>"
                   "<model type='virtio-non-transitional'/>",
                   spec->mac, spec->tap);
    if (spec->network_in_qemu)
        append_escaped(xml, "<driver name='qemu'/>");
    append_escaped(xml, "<rom enabled='no'/>");
    add_address(xml, SLOT_NETWORK);
    append_escaped(xml, "</interface>\n");
}

/* Sets a property of all processors of the VM, also of those that are added later. */
static void add_property(GString *xml, const char *name, const char *value)
{
    append_escaped(xml, "<qemu:arg value='-global'/><qemu:arg value='x86_64-cpu.%s=%s'/>", name, value);
}

static void add_number(GString *xml, const char *name, guint value)
{
    g_autofree char *text = g_strdup_printf("%u", value);

    add_property(xml, name, text);
}

/* What libvirt's XML cannot express. enforce: QEMU would leave out what the node does not have. */
static void add_baseline_arguments(GString *xml, const CpuBaseline *baseline)
{
    add_property(xml, "enforce", "on");
    add_number(xml, "family", baseline->family);
    add_number(xml, "model", baseline->model);
    add_number(xml, "stepping", baseline->stepping);
    add_property(xml, "model-id", baseline->name);
    for (guint i = 0; i < baseline->software->len; i++)
        add_property(xml, baseline->software->pdata[i], "on");
}

/* QEMU merges a second -machine with libvirt's own. libvirt itself restores only states that it has saved,
 * with the memory in them. */
static void add_arguments(GString *xml, const DomainSpec *spec, const Architecture *architecture)
{
    if (!spec->incoming && architecture->machine_options == NULL)
        return;
    append_escaped(xml, "  <qemu:commandline>");
    if (architecture->machine_options != NULL)
        append_escaped(xml, "<qemu:arg value='-machine'/><qemu:arg value='%s'/>",
                       architecture->machine_options);
    if (spec->baseline != NULL)
        add_baseline_arguments(xml, spec->baseline);
    if (spec->incoming)
        append_escaped(xml, "<qemu:arg value='-incoming'/><qemu:arg value='defer'/>");
    append_escaped(xml, "</qemu:commandline>\n");
}

/* libvirt leaves the owners of files alone: the daemon has set them. */
static void add_user(GString *xml, const DomainSpec *spec)
{
    if (spec->user != 0)
        append_escaped(
            xml, "  <seclabel type='static' model='dac' relabel='no'><label>+%u:+%u</label></seclabel>\n",
            spec->user, spec->user);
}

gboolean domain_xml_architecture_known(const char *name)
{
    return architecture_find(name) != NULL;
}

gboolean domain_xml_plugs_memory(const char *name)
{
    const Architecture *architecture = architecture_find(name);

    return architecture != NULL && architecture->plugs_memory;
}

char *domain_xml_build(const DomainSpec *spec)
{
    const Architecture *architecture = architecture_find(spec->architecture);
    GString *xml;

    g_return_val_if_fail(architecture != NULL, NULL);
    xml = g_string_new(NULL);
    add_identity(xml, spec, architecture);
    add_resources(xml, spec);
    add_boot(xml, spec, architecture);
    add_processor(xml, spec, architecture);
    add_endings(xml);
    g_string_append(xml, "  <devices>\n");
    if (spec->emulator != NULL)
        append_escaped(xml, "    <emulator>%s</emulator>\n", spec->emulator);
    add_controllers(xml, spec);
    add_memory_devices(xml, spec);
    add_channels(xml, spec);
    add_network(xml, spec);
    for (gsize i = 0; i < spec->n_disks; i++)
        add_indented(xml, domain_xml_disk(&spec->disks[i]));
    g_string_append(xml, "  </devices>\n");
    add_user(xml, spec);
    add_arguments(xml, spec, architecture);
    g_string_append(xml, "</domain>\n");
    return g_string_free(xml, FALSE);
}

/* sda, sdb, … sdz, sdaa: libvirt needs a name, which the guest never sees. */
static char *disk_name(guint lun)
{
    char letters[8];
    gsize at = sizeof(letters) - 1;

    letters[at] = '\0';
    for (guint left = lun + 1; left != 0; left = (left - 1) / 26)
        letters[--at] = (char)('a' + (left - 1) % 26);
    return g_strconcat("sd", letters + at, NULL);
}

/* A layer is shared by pods and never written, so the node caches it. A writable disk is deleted with its
 * pod, so the guest's flushes need not reach the node's disk. Neither holds for a volume. */
char *domain_xml_disk(const DiskSpec *disk)
{
    GString *xml = g_string_new(NULL);
    g_autofree char *name = disk_name(disk->lun);
    gboolean is_block = disk->lasting || g_str_has_prefix(disk->path, "/dev/");
    const char *cache = disk->lasting ? "none" : disk->readonly ? "writeback" : "unsafe";

    append_escaped(
        xml, "<disk type='%s' device='disk'><driver name='qemu' type='raw' cache='%s' discard='unmap'/>",
        is_block ? "block" : "file", cache);
    append_escaped(xml, is_block ? "<source dev='%s'/>" : "<source file='%s'/>", disk->path);
    append_escaped(xml, "<target dev='%s' bus='scsi'/>", name);
    if (disk->readonly)
        append_escaped(xml, "<readonly/><shareable/>");
    if (disk->serial != NULL)
        append_escaped(xml, "<serial>%s</serial>", disk->serial);
    append_escaped(xml, "<address type='drive' controller='0' bus='0' target='0' unit='%u'/></disk>",
                   disk->lun);
    return g_string_free(xml, FALSE);
}

char *domain_xml_memory(guint64 size_bytes, guint64 plugged_bytes)
{
    GString *xml = g_string_new(NULL);

    append_escaped(xml,
                   "<memory model='virtio-mem' access='shared'><target><size unit='KiB'>%" G_GUINT64_FORMAT
                   "</size><node>0</node><block unit='KiB'>%" G_GUINT64_FORMAT
                   "</block><requested unit='KiB'>%" G_GUINT64_FORMAT
                   "</requested></target><alias name='ua-memory'/>",
                   size_bytes / 1024, DOMAIN_MEMORY_BLOCK / 1024, plugged_bytes / 1024);
    add_address(xml, SLOT_MEMORY);
    append_escaped(xml, "</memory>");
    return g_string_free(xml, FALSE);
}

char *domain_xml_share(const ShareSpec *share, const char *socket)
{
    GString *xml = g_string_new(NULL);

    append_escaped(xml,
                   "<filesystem type='mount'><driver type='virtiofs' queue='1024'/><source socket='%s'/>"
                   "<target dir='%s'/></filesystem>",
                   socket, share->tag);
    return g_string_free(xml, FALSE);
}

/* managed='no': libvirt does not take the device from another driver, which may use it. */
char *domain_xml_pci(const PciAddress *address)
{
    GString *xml = g_string_new(NULL);

    append_escaped(xml,
                   "<hostdev mode='subsystem' type='pci' managed='no'><driver name='vfio'/><source>"
                   "<address domain='0x%04x' bus='0x%02x' slot='0x%02x' function='0x%x'/></source></hostdev>",
                   address->domain, address->bus, address->slot, address->function);
    return g_string_free(xml, FALSE);
}
