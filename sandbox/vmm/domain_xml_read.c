/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/vmm/domain_xml_read.h"

#include <string.h>

#include "common/error.h"

/* An element is known by its path from the root. Its text, or one attribute, is handed to a function. */
typedef struct {
    DomainXml xml;
    GString *text;   /* of the innermost element */
    gboolean in_dac; /* the last <seclabel> is that of users and groups */
} Reading;

static const char *attribute_of(const char *const *names, const char *const *values, const char *wanted)
{
    for (gsize i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], wanted) == 0)
            return values[i];
    return NULL;
}

/* path: "source hostdev devices domain", the innermost element first, as GMarkup lists them. */
static gboolean is_at(GMarkupParseContext *context, const char *path)
{
    const GSList *element = g_markup_parse_context_get_element_stack(context);
    g_auto(GStrv) wanted = g_strsplit(path, " ", -1);
    gsize i = 0;

    for (; element != NULL && wanted[i] != NULL; element = element->next, i++)
        if (strcmp(element->data, wanted[i]) != 0)
            return FALSE;
    return element == NULL && wanted[i] == NULL;
}

/* Numbers are written as 0x1f. */
static guint pci_number(const char *const *names, const char *const *values, const char *wanted)
{
    const char *text = attribute_of(names, values, wanted);

    return text != NULL ? (guint)g_ascii_strtoull(text, NULL, 16) : 0;
}

static void add_pci_device(DomainXml *xml, const char *const *names, const char *const *values)
{
    const PciAddress address = {
        .domain = pci_number(names, values, "domain"),
        .bus = pci_number(names, values, "bus"),
        .slot = pci_number(names, values, "slot"),
        .function = pci_number(names, values, "function"),
    };

    g_array_append_val(xml->pci_devices, address);
}

/* libvirt writes numbers as +UID:+GID. Names are possible in its XML, and are not read. */
static void read_user(DomainXml *xml, const char *text)
{
    g_auto(GStrv) ids = g_strsplit(text, ":", 2);
    guint64 uid;
    guint64 gid;

    if (g_strv_length(ids) != 2 || *ids[0] != '+' || *ids[1] != '+' ||
        !g_ascii_string_to_unsigned(ids[0] + 1, 10, 0, G_MAXUINT32 - 1, &uid, NULL) ||
        !g_ascii_string_to_unsigned(ids[1] + 1, 10, 0, G_MAXUINT32 - 1, &gid, NULL))
        return;
    xml->has_user = TRUE;
    xml->uid = (uid_t)uid;
    xml->gid = (gid_t)gid;
}

static void on_start_element(GMarkupParseContext *context, const char *element, const char **names,
                             const char **values, gpointer data, GError **error)
{
    Reading *reading = data;
    DomainXml *xml = &reading->xml;
    const char *value;

    (void)element, (void)error;
    g_string_truncate(reading->text, 0);
    if (is_at(context, "source serial devices domain")) {
        value = attribute_of(names, values, "path");
        if (value != NULL && xml->console_path == NULL)
            xml->console_path = g_strdup(value);
    } else if (is_at(context, "target filesystem devices domain")) {
        value = attribute_of(names, values, "dir");
        if (value != NULL)
            g_ptr_array_add(xml->share_tags, g_strdup(value));
    } else if (is_at(context, "seclabel domain")) {
        reading->in_dac = g_strcmp0(attribute_of(names, values, "model"), "dac") == 0;
    } else if (is_at(context, "address source hostdev devices domain")) {
        add_pci_device(xml, names, values);
    }
}

static void on_text(GMarkupParseContext *context, const char *text, gsize length, gpointer data,
                    GError **error)
{
    Reading *reading = data;

    (void)context, (void)error;
    g_string_append_len(reading->text, text, (gssize)length);
}

/* libvirt writes sizes of memory in KiB. */
static void on_end_element(GMarkupParseContext *context, const char *element, gpointer data, GError **error)
{
    Reading *reading = data;

    (void)element, (void)error;
    if (is_at(context, "serial disk devices domain"))
        g_ptr_array_add(reading->xml.disk_serials, g_strdup(reading->text->str));
    else if (is_at(context, "current target memory devices domain"))
        reading->xml.plugged_memory_bytes = g_ascii_strtoull(reading->text->str, NULL, 10) * 1024;
    else if (reading->in_dac && is_at(context, "label seclabel domain"))
        read_user(&reading->xml, reading->text->str);
    g_string_truncate(reading->text, 0);
}

static gboolean parse_markup(const GMarkupParser *parser, const char *text, gpointer data, GError **error)
{
    GMarkupParseContext *context = g_markup_parse_context_new(parser, 0, data, NULL);
    gboolean good = g_markup_parse_context_parse(context, text, (gssize)strlen(text), error) &&
                    g_markup_parse_context_end_parse(context, error);

    g_markup_parse_context_free(context);
    return good;
}

void domain_xml_clear(DomainXml *xml)
{
    g_free(xml->console_path);
    g_clear_pointer(&xml->disk_serials, g_ptr_array_unref);
    g_clear_pointer(&xml->share_tags, g_ptr_array_unref);
    g_clear_pointer(&xml->pci_devices, g_array_unref);
    *xml = (DomainXml){0};
}

gboolean domain_xml_read(const char *text, DomainXml *ret_xml, GError **error)
{
    static const GMarkupParser parser = {
        .start_element = on_start_element, .end_element = on_end_element, .text = on_text};
    Reading reading = {0};
    g_autoptr(GError) problem = NULL;
    gboolean good;

    reading.xml.disk_serials = g_ptr_array_new_with_free_func(g_free);
    reading.xml.share_tags = g_ptr_array_new_with_free_func(g_free);
    reading.xml.pci_devices = g_array_new(FALSE, FALSE, sizeof(PciAddress));
    reading.text = g_string_new(NULL);
    good = parse_markup(&parser, text, &reading, &problem);
    g_string_free(reading.text, TRUE);
    if (!good) {
        domain_xml_clear(&reading.xml);
        return fail(error, STATUS_INTERNAL, "cannot read libvirt's XML of the domain: %s", problem->message);
    }
    *ret_xml = reading.xml;
    return TRUE;
}

/* The prefix of the namespace is the writer's choice. */
static void on_owner_text(GMarkupParseContext *context, const char *text, gsize length, gpointer data,
                          GError **error)
{
    const char *element = g_markup_parse_context_get_element(context);
    char **owner = data;

    (void)error;
    if (element != NULL && (strcmp(element, "owner") == 0 || g_str_has_suffix(element, ":owner")) &&
        *owner == NULL)
        *owner = g_strndup(text, length);
}

char *domain_xml_read_owner(const char *metadata)
{
    static const GMarkupParser parser = {.text = on_owner_text};
    char *owner = NULL;

    if (!parse_markup(&parser, metadata, &owner, NULL))
        g_clear_pointer(&owner, g_free);
    return owner;
}

static gboolean has_string(const GPtrArray *strings, const char *wanted)
{
    for (guint i = 0; strings != NULL && i < strings->len; i++)
        if (g_strcmp0(strings->pdata[i], wanted) == 0)
            return TRUE;
    return FALSE;
}

gboolean domain_xml_has_disk(const DomainXml *xml, const char *serial)
{
    return has_string(xml->disk_serials, serial);
}

gboolean domain_xml_has_share(const DomainXml *xml, const char *tag)
{
    return has_string(xml->share_tags, tag);
}

gboolean domain_xml_has_pci(const DomainXml *xml, const PciAddress *address)
{
    for (guint i = 0; xml->pci_devices != NULL && i < xml->pci_devices->len; i++)
        if (memcmp(&g_array_index(xml->pci_devices, PciAddress, i), address, sizeof *address) == 0)
            return TRUE;
    return FALSE;
}
