/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/domain_xml_read.h"

#include <string.h>

#include "common/error.h"
#include "tests/unit/harness.h"

/* What libvirt 9.0 wrote for a running domain. Only the device of the node (hostdev) and the plugged size of
 * the memory were put in by hand. */
static char *real_xml(void)
{
    g_autofree char *path = g_build_filename(TEST_DATA, "domain-xml", "running.xml", NULL);
    char *text = NULL;

    CU_ASSERT_TRUE_FATAL(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static void read_real(DomainXml *ret_xml)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *text = real_xml();

    TEST_OK(domain_xml_read(text, ret_xml, &error), error);
}

static void finds_the_console(void)
{
    g_auto(DomainXml) xml = {0};

    read_real(&xml);
    CU_ASSERT_STRING_EQUAL(xml.console_path, "/run/crivirt/console.log");
}

static void finds_the_user(void)
{
    static const char *const none[] = {
        "<domain><seclabel model='selinux'><label>+1:+2</label></seclabel></domain>",
        "<domain><seclabel model='dac'><label>qemu:qemu</label></seclabel></domain>",
        "<domain><seclabel model='dac'><label>+1:+2x</label></seclabel></domain>",
        "<domain><seclabel model='dac'/></domain>",
        "<domain/>",
    };
    g_auto(DomainXml) xml = {0};

    read_real(&xml);
    CU_ASSERT_TRUE(xml.has_user);
    CU_ASSERT_EQUAL(xml.uid, 2000000007);
    CU_ASSERT_EQUAL(xml.gid, 2000000008);
    for (guint i = 0; i < G_N_ELEMENTS(none); i++) {
        g_auto(DomainXml) other = {0};
        g_autoptr(GError) error = NULL;

        TEST_OK(domain_xml_read(none[i], &other, &error), error);
        CU_ASSERT_FALSE(other.has_user);
    }
}

static void finds_disks_by_serial(void)
{
    g_auto(DomainXml) xml = {0};

    read_real(&xml);
    CU_ASSERT_TRUE(domain_xml_has_disk(&xml, "layer-1"));
    CU_ASSERT_FALSE(domain_xml_has_disk(&xml, "layer"));
    CU_ASSERT_FALSE(domain_xml_has_disk(&xml, "layer-10"));
    CU_ASSERT_FALSE(domain_xml_has_disk(&xml, NULL));
}

static void unescapes_serials(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(DomainXml) xml = {0};

    TEST_OK(
        domain_xml_read("<domain><devices><disk><serial>a&lt;b&amp;&#39;c</serial></disk></devices></domain>",
                        &xml, &error),
        error);
    CU_ASSERT_TRUE(domain_xml_has_disk(&xml, "a<b&'c"));
}

static void finds_shares_by_tag(void)
{
    g_auto(DomainXml) xml = {0};

    read_real(&xml);
    CU_ASSERT_TRUE(domain_xml_has_share(&xml, "volumes"));
    CU_ASSERT_FALSE(domain_xml_has_share(&xml, "volume"));
    CU_ASSERT_FALSE(domain_xml_has_share(&xml, "sda")); /* the target of a disk */
}

static void finds_passed_through_devices(void)
{
    const PciAddress on_node = {0, 0x3b, 0, 1};
    const PciAddress in_guest = {0, 2, 0, 0};
    g_auto(DomainXml) xml = {0};

    read_real(&xml);
    CU_ASSERT_TRUE(domain_xml_has_pci(&xml, &on_node));
    CU_ASSERT_FALSE(domain_xml_has_pci(&xml, &in_guest));
}

static void reads_plugged_memory(void)
{
    g_auto(DomainXml) xml = {0};

    read_real(&xml);
    CU_ASSERT_EQUAL(xml.plugged_memory_bytes, (guint64)64 << 20);
}

static void lacks_what_is_not_there(void)
{
    g_autoptr(GError) error = NULL;
    g_auto(DomainXml) xml = {0};
    const PciAddress zero = {0};

    TEST_OK(domain_xml_read("<domain><devices><disk><serial/></disk></devices></domain>", &xml, &error),
            error);
    CU_ASSERT_PTR_NULL(xml.console_path);
    CU_ASSERT_EQUAL(xml.plugged_memory_bytes, 0);
    CU_ASSERT_FALSE(domain_xml_has_disk(&xml, "serial"));
    CU_ASSERT_FALSE(domain_xml_has_share(&xml, ""));
    CU_ASSERT_FALSE(domain_xml_has_pci(&xml, &zero));
}

static void refuses_other_text(void)
{
    g_autoptr(GError) error = NULL;
    DomainXml xml = {.plugged_memory_bytes = 7};

    TEST_FAILS(domain_xml_read("<domain><devices>", &xml, &error), error, STATUS_INTERNAL, "libvirt's XML");
    TEST_FAILS(domain_xml_read("", &xml, &error), error, STATUS_INTERNAL, "libvirt's XML");
    CU_ASSERT_EQUAL(xml.plugged_memory_bytes, 7);
}

static void reads_the_owner(void)
{
    g_autofree char *plain = domain_xml_read_owner(
        "<crivirt:owner xmlns:crivirt=\"urn:crivirt:domain:1\">/var/lib/a&amp;b</crivirt:owner>");
    g_autofree char *other = domain_xml_read_owner("<x:title xmlns:x=\"urn:x\">/var/lib/crivirt</x:title>");
    g_autofree char *broken = domain_xml_read_owner("<crivirt:owner>/var/lib/crivirt");

    CU_ASSERT_STRING_EQUAL(plain, "/var/lib/a&b");
    CU_ASSERT_PTR_NULL(other);
    CU_ASSERT_PTR_NULL(broken);
}

int main(int argc, char **argv)
{
    static const TestCase cases[] = {
        {"the path of the serial console is found", finds_the_console},
        {"the user and group that QEMU runs as are found", finds_the_user},
        {"a disk is found by its whole serial", finds_disks_by_serial},
        {"an escaped serial is unescaped", unescapes_serials},
        {"a share is found by its tag", finds_shares_by_tag},
        {"a PCI device is found by its address on the node, not by its address in the guest",
         finds_passed_through_devices},
        {"the plugged size of pluggable memory is read in bytes", reads_plugged_memory},
        {"devices that a domain lacks are not found", lacks_what_is_not_there},
        {"text that is not XML is refused, and the result is untouched", refuses_other_text},
        {"the owner is read from a domain's metadata", reads_the_owner},
    };
    return test_main_args("domain_xml_read", cases, G_N_ELEMENTS(cases), argc, argv);
}
