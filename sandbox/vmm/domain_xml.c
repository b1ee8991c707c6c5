#include "sandbox/vmm/domain_xml.h"

/* What differs between architectures: a new one is a new row. Devices sit on the root bus at fixed slots, so
 * that libvirt adds no bridge per device: each costs the guest's PCI scan, and QEMU, time and memory. */
typedef struct {
    const char *name;
    const char *machine;
    const char *features;
    const char *cpu_emulated; /* without its end */
    const char *cpu_accelerated;
    const char *timers;
    const char *kernel_parameters;
    gboolean has_time_stamp; /* tells the time by a counter whose rate it would have to find out */
    gboolean has_generation; /* QEMU has the device */
    gboolean plugs_memory;   /* virtio-mem, in guests' kernels of 6.1 too */
} Architecture;

/* qemu64 plus what x86-64-v2 asks for, which current distributions' programs are built for. Measured by the
 * processor time of a boot: "max" takes a few per cent more (guest code picks AVX2, slow when emulated),
 * Nehalem too, for its vendor makes the kernel isolate page tables against Meltdown, which emulation does not
 * have. rdrand seeds the guest's random pool at once; smep and smap protect its kernel. No erms: a kernel
 * that is told of it copies by "rep movsb", which is emulated byte by byte (a pipe: 20 ns a byte instead of
 * 3). */
#define FEATURE(name) "<feature policy='require' name='" name "'/>"
#define CPU_X86_EMULATED                                                                                     \
    "<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>qemu64</model>" FEATURE("ssse3") \
        FEATURE("sse4.1") FEATURE("sse4.2") FEATURE("popcnt") FEATURE("cx16") FEATURE("lahf_lm")             \
            FEATURE("rdrand") FEATURE("smep") FEATURE("smap") FEATURE("fsgsbase")

/* dummy.numdummies=0: the driver is there for containers, and its dummy0 is not the pod's. tsc,
 * no_timer_check: emulated clocks need no watching; the second is what the kernel does by itself under KVM,
 * and 40 ms of other boots. */
static const Architecture architectures[] = {
    {
        .name = "x86_64",
        .machine = "q35",
        .features = "<acpi/><apic/>",
        .cpu_emulated = CPU_X86_EMULATED,
        .cpu_accelerated = "<cpu mode='host-passthrough' check='none'>",
        .timers = "<timer name='hpet' present='no'/>",
        .kernel_parameters =
            "console=ttyS0 quiet panic=-1 dummy.numdummies=0 psi=1 tsc=reliable no_timer_check "
            "memhp_default_state=online memory_hotplug.online_policy=auto-movable",
        .has_time_stamp = TRUE,
        .has_generation = TRUE,
        .plugs_memory = TRUE,
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

/* Semaphore of the root bus. The share's device must be unplugged from nothing and plugged into something: it
 * gets the one root port. */
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

static void add(GString *xml, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Strings among the arguments are escaped; the format is ours. */
static void add(GString *xml, const char *format, ...)
{
    va_list arguments;
    g_autofree char *text = NULL;

    va_start(arguments, format);
    text = g_markup_vprintf_escaped(format, arguments);
    va_end(arguments);
    g_string_append(xml, text);
}

/* A UUID of version 8 (RFC 9562) made of the name's digest: the same sandbox is the same domain. */
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

    add(xml, "<domain type='%s'", spec->accelerated ? "kvm" : "qemu");
    if (spec->incoming)
        add(xml, " xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'");
    add(xml, ">\n  <name>%s</name>\n  <uuid>%s</uuid>\n", spec->name, uuid);
    if (spec->generation != NULL && architecture->has_generation)
        add(xml, "  <genid>%s</genid>\n", spec->generation);
    if (spec->title != NULL)
        add(xml, "  <title>%s</title>\n", spec->title);
    if (spec->owner != NULL)
        add(xml,
            "  <metadata><crivirt:owner xmlns:crivirt='" DOMAIN_XML_NAMESPACE
            "'>%s</crivirt:owner></metadata>\n",
            spec->owner);
}

static guint max_vcpus(const DomainSpec *spec)
{
    return MAX(spec->vcpus, spec->max_vcpus);
}

/* Shared, because virtiofsd maps the guest's memory; that goes for a share that is attached later too. */
static void add_resources(GString *xml, const DomainSpec *spec)
{
    if (spec->pluggable_memory_bytes != 0)
        add(xml, "  <maxMemory slots='1' unit='KiB'>%" G_GUINT64_FORMAT "</maxMemory>\n",
            (spec->memory_bytes + spec->pluggable_memory_bytes) / 1024);
    add(xml, "  <memory unit='KiB'>%" G_GUINT64_FORMAT "</memory>\n", spec->memory_bytes / 1024);
    add(xml, "  <memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>\n");
    if (max_vcpus(spec) > spec->vcpus)
        add(xml, "  <vcpu current='%u'>%u</vcpu>\n", spec->vcpus, max_vcpus(spec));
    else
        add(xml, "  <vcpu>%u</vcpu>\n", spec->vcpus);
}

static void add_boot(GString *xml, const DomainSpec *spec, const Architecture *architecture)
{
    add(xml, "  <os>\n    <type arch='%s' machine='%s'>hvm</type>\n", architecture->name,
        architecture->machine);
    add(xml, "    <kernel>%s</kernel>\n", spec->kernel);
    if (spec->initrd != NULL)
        add(xml, "    <initrd>%s</initrd>\n", spec->initrd);
    add(xml, "    <cmdline>%s", architecture->kernel_parameters);
    if (architecture->has_time_stamp && !spec->accelerated && spec->time_stamp_khz != 0)
        add(xml, " tsc_early_khz=%u", spec->time_stamp_khz);
    if (spec->kernel_parameters != NULL && *spec->kernel_parameters != '\0')
        add(xml, " %s", spec->kernel_parameters);
    add(xml, "</cmdline>\n  </os>\n");
}

/* All memory as one node, which says again that it is shared: libvirt allows a share to be attached when the
 * machine type's own memory is shared, but no longer knows that of a guest that an earlier daemon made. */
static void add_memory_node(GString *xml, const DomainSpec *spec)
{
    add(xml,
        "<numa><cell id='0' cpus='0-%u' memory='%" G_GUINT64_FORMAT
        "' unit='KiB' memAccess='shared'/></numa>",
        max_vcpus(spec) - 1, spec->memory_bytes / 1024);
}

static void add_processor(GString *xml, const DomainSpec *spec, const Architecture *architecture)
{
    add(xml, "  <features>");
    g_string_append(xml, architecture->features);
    if (!spec->accelerated && spec->tcg_buffer_mib != 0)
        add(xml, "<tcg><tb-cache unit='MiB'>%u</tb-cache></tcg>", spec->tcg_buffer_mib);
    add(xml, "</features>\n  ");
    g_string_append(xml, spec->accelerated ? architecture->cpu_accelerated : architecture->cpu_emulated);
    add_memory_node(xml, spec);
    add(xml, "</cpu>\n  <clock offset='utc'>");
    g_string_append(xml, architecture->timers);
    add(xml, "</clock>\n");
}

/* A guest is never started twice: whatever ends it ends the domain. */
static void add_endings(GString *xml)
{
    add(xml, "  <on_poweroff>destroy</on_poweroff>\n  <on_reboot>destroy</on_reboot>\n"
             "  <on_crash>destroy</on_crash>\n");
}

static void add_address(GString *xml, guint slot)
{
    add(xml, "<address type='pci' bus='0x00' slot='0x%02x'/>", slot);
}

static void add_indented(GString *xml, char *device)
{
    g_string_append_printf(xml, "    %s\n", device);
    g_free(device);
}

static void add_controllers(GString *xml, const DomainSpec *spec)
{
    add(xml, "    <controller type='usb' model='none'/>\n");
    add(xml, "    <controller type='scsi' index='0' model='virtio-non-transitional'>");
    add_address(xml, SLOT_SCSI);
    add(xml, "</controller>\n    <controller type='virtio-serial' index='0' model='virtio-non-transitional' "
             "ports='2' vectors='3'>");
    add_address(xml, SLOT_SERIAL);
    add(xml, "</controller>\n    <controller type='pci' index='0' model='pcie-root'/>\n"
             "    <controller type='pci' index='1' model='pcie-root-port'>");
    add_address(xml, SLOT_ROOT_PORT);
    add(xml, "</controller>\n");
    for (guint i = 0; i < spec->passthrough_ports; i++) {
        add(xml, "    <controller type='pci' index='%u' model='pcie-root-port'>", 2 + i);
        add_address(xml, SLOT_PASSTHROUGH + i);
        add(xml, "</controller>\n");
    }
}

/* The balloon is never inflated: it is the way on which the guest tells which pages it has freed. */
static void add_memory_devices(GString *xml, const DomainSpec *spec)
{
    add(xml, "    <memballoon model='virtio-non-transitional' freePageReporting='on'>");
    add_address(xml, SLOT_BALLOON);
    add(xml, "</memballoon>\n");
    if (spec->pluggable_memory_bytes != 0)
        add_indented(xml, domain_xml_memory(spec->pluggable_memory_bytes, spec->plugged_memory_bytes));
}

static void add_channels(GString *xml, const DomainSpec *spec)
{
    add(xml,
        "    <channel type='unix'><source mode='bind' path='%s'/>"
        "<target type='virtio' name='org.crivirt.agent.0'/></channel>\n",
        spec->agent_socket);
    add(xml, "    <serial type='file'><source path='%s' append='on'/></serial>\n", spec->console_path);
}

/* managed='no': the tap is ours, made and named by cni-bridge. */
static void add_network(GString *xml, const DomainSpec *spec)
{
    if (spec->tap == NULL)
        return;
    add(xml,
        "    <interface type='ethernet'><mac address='%s'/><target dev='%s' managed='no'/>"
        "<model type='virtio-non-transitional'/><rom enabled='no'/>",
        spec->mac, spec->tap);
    add_address(xml, SLOT_NETWORK);
    add(xml, "</interface>\n");
}

/* libvirt would fill a guest only from what it saved itself, RAM included. */
static void add_incoming(GString *xml)
{
    add(xml,
        "  <qemu:commandline><qemu:arg value='-incoming'/><qemu:arg value='defer'/></qemu:commandline>\n");
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
    add_controllers(xml, spec);
    add_memory_devices(xml, spec);
    add_channels(xml, spec);
    add_network(xml, spec);
    for (gsize i = 0; i < spec->n_disks; i++)
        add_indented(xml, domain_xml_disk(&spec->disks[i]));
    g_string_append(xml, "  </devices>\n");
    if (spec->incoming)
        add_incoming(xml);
    g_string_append(xml, "</domain>\n");
    return g_string_free(xml, FALSE);
}

/* sda, sdb, … sdz, sdaa: libvirt wants a name, the guest never sees it. */
static char *disk_name(guint lun)
{
    char letters[8];
    gsize at = sizeof(letters) - 1;

    letters[at] = '\0';
    for (guint left = lun + 1; left != 0; left = (left - 1) / 26)
        letters[--at] = (char)('a' + (left - 1) % 26);
    return g_strconcat("sd", letters + at, NULL);
}

/* A layer is shared by pods and never written, hence cached by the node; a writable disk is thrown away with
 * its pod, so the guest's flushes need not reach the node's disk. A volume is neither. */
char *domain_xml_disk(const DiskSpec *disk)
{
    GString *xml = g_string_new(NULL);
    g_autofree char *name = disk_name(disk->lun);
    gboolean is_block = disk->lasting || g_str_has_prefix(disk->path, "/dev/");
    const char *cache = disk->lasting ? "none" : disk->readonly ? "writeback" : "unsafe";

    add(xml, "<disk type='%s' device='disk'><driver name='qemu' type='raw' cache='%s' discard='unmap'/>",
        is_block ? "block" : "file", cache);
    add(xml, is_block ? "<source dev='%s'/>" : "<source file='%s'/>", disk->path);
    add(xml, "<target dev='%s' bus='scsi'/>", name);
    if (disk->readonly)
        add(xml, "<readonly/><shareable/>");
    if (disk->serial != NULL)
        add(xml, "<serial>%s</serial>", disk->serial);
    add(xml, "<address type='drive' controller='0' bus='0' target='0' unit='%u'/></disk>", disk->lun);
    return g_string_free(xml, FALSE);
}

char *domain_xml_memory(guint64 size_bytes, guint64 plugged_bytes)
{
    GString *xml = g_string_new(NULL);

    add(xml,
        "<memory model='virtio-mem' access='shared'><target><size unit='KiB'>%" G_GUINT64_FORMAT
        "</size><node>0</node><block unit='KiB'>%" G_GUINT64_FORMAT
        "</block><requested unit='KiB'>%" G_GUINT64_FORMAT "</requested></target><alias name='ua-memory'/>",
        size_bytes / 1024, DOMAIN_MEMORY_BLOCK / 1024, plugged_bytes / 1024);
    add_address(xml, SLOT_MEMORY);
    add(xml, "</memory>");
    return g_string_free(xml, FALSE);
}

char *domain_xml_share(const ShareSpec *share, const char *socket)
{
    GString *xml = g_string_new(NULL);

    add(xml,
        "<filesystem type='mount'><driver type='virtiofs' queue='1024'/><source socket='%s'/>"
        "<target dir='%s'/></filesystem>",
        socket, share->tag);
    return g_string_free(xml, FALSE);
}

/* managed='no': libvirt does not take the device from another driver, which may be in use. */
char *domain_xml_pci(const PciAddress *address)
{
    GString *xml = g_string_new(NULL);

    add(xml,
        "<hostdev mode='subsystem' type='pci' managed='no'><driver name='vfio'/><source>"
        "<address domain='0x%04x' bus='0x%02x' slot='0x%02x' function='0x%x'/></source></hostdev>",
        address->domain, address->bus, address->slot, address->function);
    return g_string_free(xml, FALSE);
}
