/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/templates/template.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/json_writer.h"
#include "common/page_digest.h"
#include "sandbox/host/cpu_node.h"
#include "sandbox/host/time_stamp.h"
#include "sandbox/vmm/vmm_memory.h"

/* The version of the files' format. It is raised with each change of their form or meaning, including what
 * the agent expects of a restored guest. */
#define FORMAT "3"

enum {
    KEY_DIGITS = 32,
    IDENTITY_WORDS = 3,
    MANIFEST_MAX_BYTES = 1 << 20,
    CONSTANT_MAX_BYTES = 1 << 20,
    PROBLEM_BYTES = 256
};

/* ---- inputs ---- */

/* Identifies a file by its path, inode, size and time of modification: a digest would have to be computed
 * for every pod. */
static char *file_identity(const char *path)
{
    struct stat status;

    if (path == NULL || stat(path, &status) != 0)
        return g_strdup("none");
    return g_strdup_printf("%s %" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT " %" G_GINT64_FORMAT
                           " %" G_GINT64_FORMAT ".%09ld",
                           path, (guint64)status.st_dev, (guint64)status.st_ino, (gint64)status.st_size,
                           (gint64)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
}

static char *vm_text(const DomainSpec *spec, guint64 disk_bytes)
{
    g_autofree char *serial = g_strdup_printf("%" G_GUINT64_FORMAT " bytes", disk_bytes);
    const DiskSpec disk = {.path = "disk", .serial = serial};
    DomainSpec anonymous = *spec;

    anonymous.name = "template";
    anonymous.title = NULL;
    anonymous.owner = NULL;
    anonymous.emulator = NULL;
    anonymous.agent_socket = "agent";
    anonymous.console_path = "console";
    anonymous.tap = "tap";
    anonymous.mac = "mac";
    anonymous.disks = &disk;
    anonymous.n_disks = 1;
    anonymous.generation = "generation";
    return domain_xml_build(&anonymous);
}

/* Return: the first processor's model, features and microcode, by which software in the guest may have
 * selected its code. The caller frees the text. */
static char *processor_text(void)
{
    static const char *const keys[] = {"vendor_id", "model name", "stepping", "microcode",
                                       "flags",     "Features",   "CPU part"};
    g_autofree char *text = NULL;
    g_auto(GStrv) first = NULL;
    g_auto(GStrv) lines = NULL;
    GString *found = g_string_new(NULL);

    if (!g_file_get_contents("/proc/cpuinfo", &text, NULL, NULL))
        return g_string_free(found, FALSE);
    first = g_strsplit(text, "\n\n", 2);
    lines = g_strsplit(first[0], "\n", -1);
    for (guint i = 0; lines[i] != NULL; i++)
        for (guint k = 0; k < G_N_ELEMENTS(keys); k++)
            if (g_str_has_prefix(lines[i], keys[k]))
                g_string_append_printf(found, "%s; ", lines[i]);
    return g_string_free(found, FALSE);
}

static const char *processor(void)
{
    static gsize known;
    static char *text;

    if (g_once_init_enter(&known)) {
        text = processor_text();
        g_once_init_leave(&known, 1);
    }
    return text;
}

static void add_input(GPtrArray *inputs, const char *name, const char *value)
{
    g_ptr_array_add(inputs, g_strdup_printf("%s=%s", name, value));
}

static void add_file(GPtrArray *inputs, const char *name, const char *path)
{
    g_autofree char *identity = file_identity(path);

    add_input(inputs, name, identity);
}

static gboolean add_versions_of(GPtrArray *inputs, Vmm *vmm, const char *crivirt, GError **error)
{
    const QemuProgram *qemu = vmm_qemu(vmm);
    g_autofree char *versions = NULL;
    gulong libvirt;

    if (!vmm_libvirt_version(vmm, &libvirt, error))
        return FALSE;
    versions = g_strdup_printf("QEMU %lu%s, libvirt %lu%s", qemu->number, qemu->own ? " (crivirt)" : "",
                               libvirt, crivirt);
    add_input(inputs, "format", FORMAT);
    add_input(inputs, "versions", versions);
    return TRUE;
}

static gboolean add_versions(GPtrArray *inputs, Vmm *vmm, GError **error)
{
    return add_versions_of(inputs, vmm, ", crivirt " CRIVIRT_VERSION, error);
}

char **template_inputs(Vmm *vmm, const DomainSpec *spec, guint64 disk_bytes, GError **error)
{
    DomainSpec booting = *spec;
    g_autofree char *vm = NULL;
    g_autofree char *accelerator =
        g_strdup_printf("%s; the node's: %s", spec->accelerator, vmm_uses_kvm(vmm, NULL) ? "kvm" : "tcg");
    g_autoptr(GPtrArray) inputs = g_ptr_array_new_with_free_func(g_free);

    if (!vmm_choose_processor(vmm, &booting, error) || !add_versions(inputs, vmm, error))
        return NULL;
    add_input(inputs, "processor", booting.baseline != NULL ? booting.baseline->text : processor());
    add_file(inputs, "emulator", vmm_qemu(vmm)->path);
    add_file(inputs, "kernel", spec->kernel);
    add_file(inputs, "initrd", spec->initrd);
    add_input(inputs, "accelerator", accelerator);
    booting.incoming = FALSE;
    vm = vm_text(&booting, disk_bytes);
    add_input(inputs, "machine", vm);
    g_ptr_array_add(inputs, NULL);
    return (char **)g_ptr_array_steal(inputs, NULL);
}

/* The processor of an emulated VM does not depend on the node's. */
static const char *run_processor(const DomainSpec *spec)
{
    if (spec->baseline != NULL)
        return spec->baseline->text;
    return spec->accelerated ? processor() : "emulated";
}

/* The counter of an emulated guest is the node's. */
static void add_time_stamp(GPtrArray *inputs, const DomainSpec *spec)
{
    const CpuTimeStamp node =
        spec->accelerated ? cpu_node_time_stamp() : (CpuTimeStamp){.khz = time_stamp_khz()};
    const guint saved = spec->accelerated ? spec->saved_time_stamp_khz : 0;
    g_autofree char *text =
        saved != 0 ? time_stamp_text(saved, FALSE) : time_stamp_text(node.khz, node.scales);

    add_input(inputs, TIME_STAMP_INPUT, text);
}

static char **run_inputs(Vmm *vmm, const DomainSpec *spec, const char *crivirt, GError **error)
{
    g_autoptr(GPtrArray) inputs = g_ptr_array_new_with_free_func(g_free);
    DomainSpec without_kernel = *spec;
    g_autofree char *vm = NULL;

    without_kernel.kernel = without_kernel.initrd = without_kernel.kernel_parameters = NULL;
    without_kernel.incoming = TRUE;
    if (!vmm_choose_processor(vmm, &without_kernel, error) || !add_versions_of(inputs, vmm, crivirt, error))
        return NULL;
    add_input(inputs, "accelerator", without_kernel.accelerated ? "kvm" : "tcg");
    add_input(inputs, "processor", run_processor(&without_kernel));
    add_time_stamp(inputs, &without_kernel);
    without_kernel.saved_time_stamp_khz = 0;
    vm = vm_text(&without_kernel, 0);
    add_input(inputs, "machine", vm);
    g_ptr_array_add(inputs, NULL);
    return (char **)g_ptr_array_steal(inputs, NULL);
}

char **template_run_inputs(Vmm *vmm, const DomainSpec *spec, GError **error)
{
    return run_inputs(vmm, spec, ", crivirt " CRIVIRT_VERSION, error);
}

char **template_own_run_inputs(Vmm *vmm, const DomainSpec *spec, GError **error)
{
    return run_inputs(vmm, spec, "", error);
}

char *template_key(const char *const *inputs)
{
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);

    for (guint i = 0; inputs[i] != NULL; i++)
        g_checksum_update(checksum, (const guchar *)inputs[i], (gssize)strlen(inputs[i]) + 1);
    return g_strndup(g_checksum_get_string(checksum), KEY_DIGITS);
}

static int file_open(const char *directory, const char *name)
{
    g_autofree char *path = g_build_filename(directory, name, NULL);

    return open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

/* ---- the manifest ---- */

static void put_inputs(JsonWriter *json, const char *const *inputs)
{
    json_writer_open_object(json, "inputs");
    for (guint i = 0; inputs[i] != NULL; i++) {
        g_auto(GStrv) input = g_strsplit(inputs[i], "=", 2);

        json_writer_string(json, input[0], input[1]);
    }
    json_writer_close_object(json);
}

/* The files whose digests are in the manifest. */
static const char *const parts[] = {TEMPLATE_RAM, TEMPLATE_DEVICES, TEMPLATE_DISK, TEMPLATE_CONSTANT};

static gboolean manifest_write(const char *directory, const char *const *inputs, const FileFacts *facts,
                               GError **error)
{
    g_autofree char *path = g_build_filename(directory, TEMPLATE_MANIFEST, NULL);
    g_autofree char *key = template_key(inputs);
    g_autoptr(JsonWriter) json = json_writer_new_indented();
    const char *text;
    gsize length = 0;

    json_writer_open_object(json, NULL);
    json_writer_string(json, "key", key);
    json_writer_int(json, "made_at", g_get_real_time() / G_USEC_PER_SEC);
    put_inputs(json, inputs);
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
        file_facts_put(json, parts[i], &facts[i]);
    json_writer_close_object(json);
    text = json_writer_text(json, &length);
    return file_write_atomic(path, text, length, 0600, error);
}

static gboolean seal_part(const char *directory, const char *name, FileFacts *ret_facts, GError **error)
{
    int fd = file_open(directory, name);
    gboolean good = fd >= 0 && fsync(fd) == 0 && file_facts(fd, ret_facts);

    if (!good)
        fail_errno(error, errno, "cannot finish %s/%s", directory, name);
    if (fd >= 0)
        close(fd);
    return good;
}

gboolean template_seal(const char *directory, const char *const *inputs, GError **error)
{
    FileFacts facts[G_N_ELEMENTS(parts)];

    for (guint i = 0; i < G_N_ELEMENTS(parts); i++)
        if (!seal_part(directory, parts[i], &facts[i], error))
            return FALSE;
    return manifest_write(directory, inputs, facts, error);
}

/* Return: NULL with DATA_LOSS when the manifest cannot be parsed. */
static JsonDocument *manifest_read(const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, TEMPLATE_MANIFEST, NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) problem = NULL;
    JsonDocument *manifest;
    gsize length = 0;

    if (!file_read(path, MANIFEST_MAX_BYTES, &text, &length, error))
        return NULL;
    manifest = json_document_parse(text, length, path, NULL, &problem);
    if (manifest == NULL)
        fail(error, STATUS_DATA_LOSS, "%s", problem->message);
    return manifest;
}

static const char *manifest_text(const JsonDocument *manifest, const char *first, const char *second)
{
    const char *const path[] = {first, second, NULL};

    return json_find_string(json_document_root(manifest), path);
}

static gint64 manifest_number(const JsonDocument *manifest, const char *first, const char *second)
{
    const char *const path[] = {first, second, NULL};
    gint64 number = -1;

    json_find_int(json_document_root(manifest), path, &number);
    return number;
}

/* identity: from file_identity(), which is a path and IDENTITY_WORDS words. */
static gboolean file_has_changed(const char *identity)
{
    g_autofree char *path = g_strdup(identity);
    g_autofree char *now = NULL;

    for (guint i = 0; i < IDENTITY_WORDS; i++) {
        char *space = strrchr(path, ' ');

        if (space == NULL)
            return FALSE; /* the file did not exist */
        *space = '\0';
    }
    now = file_identity(path);
    return !g_str_equal(now, identity);
}

static gboolean files_have_changed(const JsonDocument *manifest)
{
    static const char *const files[] = {"emulator", "kernel", "initrd"};
    gboolean changed = FALSE;

    for (guint i = 0; i < G_N_ELEMENTS(files); i++) {
        const char *identity = manifest_text(manifest, "inputs", files[i]);

        changed |= identity != NULL && file_has_changed(identity);
    }
    return changed;
}

/* text: the input "processor" of a template. Return: whether no guest of this node has that processor. */
static gboolean processor_has_changed(const char *text)
{
    g_autofree char *name = g_strndup(text, strcspn(text, ","));
    const CpuBaseline *baseline;

    if (!cpu_baseline_is_known(name))
        return !g_str_equal(text, processor());
    for (guint accelerated = 0; accelerated < 2; accelerated++)
        if (cpu_node_baseline(name, accelerated != 0, &baseline, NULL) && g_str_equal(baseline->text, text))
            return FALSE;
    return TRUE;
}

gboolean template_is_outdated(const char *directory, Vmm *vmm)
{
    g_autoptr(GPtrArray) inputs = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(JsonDocument) manifest = manifest_read(directory, NULL);
    const char *saved_processor = manifest != NULL ? manifest_text(manifest, "inputs", "processor") : NULL;
    gboolean outdated = manifest != NULL && (files_have_changed(manifest) || saved_processor == NULL ||
                                             processor_has_changed(saved_processor));

    if (manifest != NULL && add_versions(inputs, vmm, NULL))
        for (guint i = 0; i < inputs->len; i++) {
            g_auto(GStrv) input = g_strsplit(inputs->pdata[i], "=", 2);

            outdated |= g_strcmp0(manifest_text(manifest, "inputs", input[0]), input[1]) != 0;
        }
    return outdated;
}

/* ---- opening ---- */

static gboolean check_file(const JsonDocument *manifest, const char *directory, const char *name, int fd,
                           FileFacts *ret_facts, GError **error)
{
    FileFacts facts;

    if (fd < 0)
        return fail(error, STATUS_DATA_LOSS, "%s/%s cannot be opened: %s", directory, name,
                    g_strerror(errno));
    if (!file_facts(fd, &facts))
        return fail(error, STATUS_DATA_LOSS, "%s/%s cannot be read: %s", directory, name, g_strerror(errno));
    if ((gint64)facts.bytes != manifest_number(manifest, name, "bytes"))
        return fail(error, STATUS_DATA_LOSS, "%s/%s does not have the size in the manifest", directory, name);
    if (g_strcmp0(facts.digest, manifest_text(manifest, name, "digest")) != 0)
        return fail(error, STATUS_DATA_LOSS, "%s/%s is damaged: its digest is not the one in the manifest",
                    directory, name);
    *ret_facts = facts;
    return TRUE;
}

/* *ret_constant_fd: the caller's, also on error. */
static gboolean check_all(Template *template, const JsonDocument *manifest, int *ret_constant_fd,
                          GError **error)
{
    g_autofree char *name = g_path_get_basename(template->directory);
    int *const fds[] = {&template->ram_fd, &template->device_fd, &template->disk_fd, ret_constant_fd};
    const char *key = manifest_text(manifest, "key", NULL);
    FileFacts facts[G_N_ELEMENTS(parts)];

    if (g_strcmp0(key, name) != 0)
        return fail(error, STATUS_DATA_LOSS, "%s contains the manifest of another template",
                    template->directory);
    for (guint i = 0; i < G_N_ELEMENTS(parts); i++) {
        *fds[i] = file_open(template->directory, parts[i]);
        if (!check_file(manifest, template->directory, parts[i], *fds[i], &facts[i], error))
            return FALSE;
        template->data_bytes += facts[i].data_bytes;
    }
    template->key = g_strdup(key);
    template->instance = g_strdup(facts[0].digest);
    template->made_at_s = manifest_number(manifest, "made_at", NULL);
    template->ram_bytes = facts[0].bytes;
    template->ram_data_bytes = facts[0].data_bytes;
    return TRUE;
}

/* Reads the descriptor whose content was checked. */
static gboolean read_constant(Template *template, int fd, GError **error)
{
    g_autofree char *text = NULL;
    struct stat status;

    if (fstat(fd, &status) != 0 || status.st_size > CONSTANT_MAX_BYTES)
        return fail(error, STATUS_DATA_LOSS, "%s/" TEMPLATE_CONSTANT " is too large", template->directory);
    text = g_malloc0((gsize)status.st_size + 1);
    if (!file_read_at(fd, text, (gsize)status.st_size, 0))
        return fail_errno(error, errno, "cannot read %s/" TEMPLATE_CONSTANT, template->directory);
    template->constant = memory_parts_parse(text, template->ram_bytes);
    return template->constant != NULL ||
           fail(error, STATUS_DATA_LOSS, "%s/" TEMPLATE_CONSTANT " is no list of parts of the memory",
                template->directory);
}

Template *template_open(const char *directory, GError **error)
{
    g_autoptr(JsonDocument) manifest = manifest_read(directory, error);
    g_autoptr(Template) template = NULL;
    int constant_fd = -1;
    gboolean good;

    if (manifest == NULL)
        return NULL;
    template = g_new0(Template, 1);
    template->references = 1;
    template->directory = g_strdup(directory);
    template->ram_fd = template->device_fd = template->disk_fd = -1;
    good = check_all(template, manifest, &constant_fd, error) && read_constant(template, constant_fd, error);
    if (constant_fd >= 0)
        close(constant_fd);
    return good ? g_steal_pointer(&template) : NULL;
}

Template *template_ref(Template *template)
{
    g_atomic_int_inc(&template->references);
    return template;
}

void template_unref(Template *template)
{
    if (template == NULL || !g_atomic_int_dec_and_test(&template->references))
        return;
    if (template->ram_fd >= 0)
        close(template->ram_fd);
    if (template->device_fd >= 0)
        close(template->device_fd);
    if (template->disk_fd >= 0)
        close(template->disk_fd);
    g_clear_pointer(&template->constant, g_array_unref);
    g_free(template->instance);
    g_free(template->key);
    g_free(template->directory);
    g_free(template);
}

/* Opens the file again, because all users of a descriptor share its position. */
static int reopen(int fd)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

    return open(path, O_RDONLY | O_CLOEXEC);
}

gboolean template_open_ram_and_devices(const Template *template, int *ret_ram_fd, int *ret_device_fd,
                                       GError **error)
{
    int ram = reopen(template->ram_fd);
    int devices = ram >= 0 ? reopen(template->device_fd) : -1;

    if (devices < 0) {
        fail_errno(error, errno, "cannot open the template %s", template->key);
        if (ram >= 0)
            close(ram);
        return FALSE;
    }
    *ret_ram_fd = ram;
    *ret_device_fd = devices;
    return TRUE;
}

char *template_disk_path(const Template *template)
{
    return g_strdup_printf("/proc/self/fd/%d", template->disk_fd);
}
