/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/pod/pod_start.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/metrics.h"
#include "sandbox/host/time_stamp.h"
#include "sandbox/pod/pod_cgroup.h"
#include "sandbox/pod/pod_events.h"
#include "sandbox/pod/pod_network.h"
#include "sandbox/pod/pod_oom.h"
#include "sandbox/pod/pod_vm.h"
#include "sandbox/pod/vm_pod.h"
#include "sandbox/pods/vm_size.h"
#include "sandbox/templates/guest_restore.h"
#include "sandbox/templates/template_store.h"
#include "sandbox/templates/unassigned_guest.h"
#include "sandbox/templates/vm_pool.h"
#include "sandbox/vmm/console.h"
#include "sandbox/vmm/vmm_state.h"

enum {
    DESTROY_TIMEOUT_MS = 20 * 1000,
    CONSOLE_TAIL_BYTES = 2000,
    CONSOLE_TAIL_LINES = 12,
    END_REPORT_MS = 500, /* for the report of an end that a call has met already */
    LOOK_EVERY_US = 5 * 1000,
    PROCESSOR_MAX_BYTES = 256,
    INPUTS_MAX_BYTES = 256 * 1024,
};

/* ---- the VM's description ---- */

/* Guests have the node's architecture. */
static const char *node_architecture(void)
{
    struct utsname node;

    return uname(&node) == 0 ? g_intern_string(node.machine) : "x86_64";
}

/* Describes a VM without the names of its guest (templates/unassigned_guest.h). Strings are borrowed from
 * settings. */
static DomainSpec vm_describe(const SandboxManager *manager, const HandlerSettings *settings,
                              const VmSize *size)
{
    return (DomainSpec){
        .architecture = node_architecture(),
        .accelerator = settings->accelerator,
        .cpu = settings->cpu,
        .memory_bytes = size->boot_memory_bytes,
        .pluggable_memory_bytes = size->max_memory_bytes - size->boot_memory_bytes,
        .vcpus = size->boot_vcpus,
        .max_vcpus = size->max_vcpus,
        .kernel = settings->kernel,
        .initrd = settings->initrd,
        .kernel_parameters = settings->kernel_parameters,
        .tcg_buffer_mib = manager->settings->hypervisor.tcg_buffer_mib,
        .passthrough_ports = manager->settings->guest.passthrough_ports,
        .network_in_qemu = !manager->settings->guest.vhost_net,
    };
}

/* Return: the pod's name, for people who look at libvirt's VMs; the caller frees it. */
static char *vm_title(const Pod *pod)
{
    return g_strdup_printf("%s/%s", pod->config->metadata->namespace_, pod->config->metadata->name);
}

gboolean vm_pod_describe_default(gpointer data, DomainSpec *ret_spec, GError **error)
{
    SandboxManager *manager = data;
    const Runtime__V1__PodSandboxConfig none = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    g_autoptr(Settings) in_force = live_settings_get(manager->live);
    const Handler *handler = handler_find(in_force->handlers, "", error);
    const NodeCapacity node = node_capacity();
    g_auto(HandlerSettings) settings = {0};
    VmSize size;

    if (handler == NULL || !handler_settings(handler, &none, &settings, error) ||
        !vm_size_compute(NULL, "config.linux.resources", &settings.bounds, &node, &size, error))
        return FALSE;
    *ret_spec = vm_describe(manager, &settings, &size);
    /* The description outlives these settings. The strings are an administrator's, and so few that they may
     * be kept for ever. */
    ret_spec->accelerator = g_intern_string(handler->accelerator);
    ret_spec->cpu = g_intern_string(handler->cpu);
    ret_spec->kernel = g_intern_string(handler->kernel);
    ret_spec->initrd = g_intern_string(handler->initrd);
    ret_spec->kernel_parameters = g_intern_string(handler->kernel_parameters);
    return TRUE;
}

void pod_start_prefix_console(Pod *pod, GError **error)
{
    g_autofree char *path = guest_console_path(&pod->manager->guests, pod->id);
    g_autofree char *tail = console_tail(path, CONSOLE_TAIL_BYTES, CONSOLE_TAIL_LINES);

    if (error == NULL || *error == NULL || tail == NULL)
        return;
    if (*tail == '\0')
        g_prefix_error(error, "the guest's console is empty; ");
    else
        g_prefix_error(error, "(the guest's console ends with: %s) ", tail);
}

static gboolean vm_wait(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline boot = deadline_sooner(deadline, pod->manager->settings->hypervisor.boot_timeout_ms);

    if (agent_connection_wait_ready(pod->agent, &boot, error))
        return TRUE;
    g_prefix_error(error, "the guest did not boot: ");
    pod_start_prefix_console(pod, error);
    return FALSE;
}

/* ---- start of the VM ---- */

static Metric starts = METRIC_COUNTER(
    "crivirt_guest_starts_total",
    "Guests of pods that started, by how: booted, restored, pooled (restored in a VM of the pool), "
    "checkpoint, failed.",
    "how", NULL);
static Metric start_seconds = METRIC_SECONDS(
    "crivirt_guest_start_seconds",
    "Time from a pod's turn to the first message of its guest's agent, by how the guest started.", "how");

/* QEMU opened the tap in the daemon's network namespace; its descriptor stays valid when the tap is moved. */
static gboolean vm_join(Pod *pod, GError **error)
{
    pod_oom_follow(pod);
    if (!pod_cgroup_join(pod, vmm_pid(pod->manager->vmm, pod->id), error) ||
        !pod_cgroup_make_room(pod, pod_vm_size(pod).memory_bytes, error))
        return FALSE;
    pod_cgroup_begin(pod);
    return tap_move(pod->tap, pod->netns_path, 0, error);
}

/* Lets the paused VM run, and waits for the agent's Hello. fresh: no daemon has been connected to the agent.
 */
static gboolean vm_run(Pod *pod, gboolean fresh, const Deadline *deadline, GError **error)
{
    pod_connect(pod, fresh);
    return vmm_resume(pod->manager->vmm, pod->id, error) && vm_wait(pod, deadline, error);
}

/* Removes what a failed start has left, so that another VM can be created. */
static gboolean vm_undo(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline destroy = deadline_sooner(deadline, DESTROY_TIMEOUT_MS);

    pod_disconnect(pod);
    g_clear_pointer(&pod->pooled_template, template_unref);
    if (!guest_vm_destroy(&pod->manager->guests, pod->id, &destroy, error) ||
        !tap_delete(pod->tap, pod->netns_path, error) ||
        !guest_files_remove(&pod->manager->guests, pod->id, error))
        return FALSE;
    g_mutex_lock(&pod->lock);
    pod->lost = NULL;
    pod->was_reset = FALSE;
    g_mutex_unlock(&pod->lock);
    return TRUE;
}

static gboolean vm_boot_once(Pod *pod, const DomainSpec *spec, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();

    if (!guest_files_make(&pod->manager->guests, pod->id, NULL, error) ||
        !guest_vm_create(&pod->manager->guests, pod->id, spec, deadline, error) || !vm_join(pod, error))
        return FALSE;
    trace_add(pod->trace, TRACE_CREATE, NULL, begin_us);
    begin_us = g_get_monotonic_time();
    if (!vm_run(pod, TRUE, deadline, error))
        return FALSE;
    trace_add(pod->trace, TRACE_BOOT, NULL, begin_us);
    pod->start = "booted";
    return TRUE;
}

static gboolean vm_was_reset(Pod *pod)
{
    gboolean was_reset;

    if (!pod_is_lost(pod))
        return FALSE;
    g_mutex_lock(&pod->lock);
    was_reset = pod->was_reset;
    g_mutex_unlock(&pod->lock);
    return was_reset;
}

/* A guest whose kernel resets itself before the agent's Hello has run nothing of the pod's, and boots once
 * more: the kubelet would make another sandbox for the same end, after a failed one that its events show. */
static gboolean vm_boot(Pod *pod, const DomainSpec *spec, const Deadline *deadline, GError **error)
{
    g_autoptr(GError) problem = NULL;

    if (vm_boot_once(pod, spec, deadline, &problem))
        return TRUE;
    if (pod->abandoned || !deadline_check(deadline, "", NULL) || !vm_was_reset(pod)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    log_warning(LOG_FIELDS("sandbox", pod->id), "the guest boots once more, because it reset itself: %s",
                problem->message);
    return vm_undo(pod, deadline, error) && vm_boot_once(pod, spec, deadline, error);
}

/* Provides a VM that expects the template's state: that of the pool if it is still alive, else a new one. */
static gboolean vm_create_incoming(Pod *pod, const DomainSpec *spec, const Template *template,
                                   const Deadline *deadline, GError **error)
{
    g_autofree char *disk = template_disk_path(template);
    DomainSpec incoming = *spec;

    incoming.incoming = TRUE;
    if (pod->pooled_template != NULL && vmm_pid(pod->manager->vmm, pod->id) != 0)
        return TRUE;
    return (pod->pooled_template == NULL || vm_undo(pod, deadline, error)) &&
           guest_files_make(&pod->manager->guests, pod->id, disk, error) &&
           guest_vm_create(&pod->manager->guests, pod->id, &incoming, deadline, error);
}

/* A VM of the pool may be pre-restored. */
static gboolean vm_load_state(Pod *pod, const Template *template, const Deadline *deadline, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();

    if (pod->pooled_template != NULL && pod->manager->settings->guest.vm_pool_prerestored)
        return TRUE;
    if (!guest_restore(&pod->manager->guests, pod->id, template, deadline, error))
        return FALSE;
    trace_add(pod->trace, TRACE_LOAD, NULL, begin_us);
    return TRUE;
}

/* *ret_blame: whether the template is the likely cause of the failure. */
static gboolean vm_restore(Pod *pod, const DomainSpec *spec, const Template *template,
                           const Deadline *deadline, gboolean *ret_blame, GError **error)
{
    gint64 begin_us = g_get_monotonic_time();
    gboolean running;

    *ret_blame = FALSE;
    if (!vm_create_incoming(pod, spec, template, deadline, error) || !vm_join(pod, error))
        return FALSE;
    trace_add(pod->trace, TRACE_CREATE, NULL, begin_us);
    begin_us = g_get_monotonic_time();
    running = vm_load_state(pod, template, deadline, error) && vm_run(pod, TRUE, deadline, error);
    *ret_blame = !running && !pod->abandoned && deadline_check(deadline, "", NULL) &&
                 !vmm_is_blocked(pod->manager->vmm, pod->id);
    if (!running)
        return FALSE;
    trace_add(pod->trace, TRACE_RESTORE, NULL, begin_us);
    pod->start = "restored";
    return TRUE;
}

/* Return: the template, referenced; NULL: the guest boots. */
static Template *template_find(SandboxManager *manager, const HandlerSettings *settings,
                               const DomainSpec *spec)
{
    return settings->template && manager->templates != NULL ? template_store_find(manager->templates, spec)
                                                            : NULL;
}

/* Return: the text of the network in which the pod's VM may be already, which the caller frees; NULL: none.
 */
static char *prepared_network_config(const SandboxManager *manager, const PodRequest *request)
{
    g_autoptr(CniNetwork) plan =
        pod_network_is_ordinary(request->config) ? guest_network_plan(&manager->guests) : NULL;

    return plan != NULL ? cni_network_text(plan) : NULL;
}

Template *pod_start_take_pooled(SandboxManager *manager, const PodRequest *request, PooledGuest *ret_guest)
{
    const DomainSpec spec = vm_describe(manager, &request->settings, &request->size);
    g_autoptr(Template) template = NULL;
    g_autofree char *network_config = NULL;

    if (manager->pool == NULL || request->checkpoint != NULL)
        return NULL;
    template = template_find(manager, &request->settings, &spec);
    if (template == NULL)
        return NULL;
    network_config = prepared_network_config(manager, request);
    return vm_pool_take(manager->pool, template, network_config, ret_guest) ? g_steal_pointer(&template)
                                                                            : NULL;
}

/* A VM of the pool may end at any time before the pod has it: the pod then gets a VM of its own, as if the
 * pool had been empty. The failure says nothing about the template. *ret_retry: another VM may do better. */
static gboolean vm_restore_pooled(Pod *pod, const DomainSpec *spec, const Template *template,
                                  const Deadline *deadline, gboolean *ret_retry, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean blame;

    if (vm_restore(pod, spec, template, deadline, &blame, &problem))
        return TRUE;
    *ret_retry = !pod->abandoned && deadline_check(deadline, "", NULL);
    if (!*ret_retry) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    log_warning(LOG_FIELDS("sandbox", pod->id),
                "the VM that the pod got from the pool is of no use, and the pod gets another one: %s",
                problem->message);
    *ret_retry = vm_undo(pod, deadline, error);
    return FALSE;
}

/* A bad template delays this pod only: it is quarantined, and this pod's VM boots. */
static gboolean vm_restore_or_boot(Pod *pod, const DomainSpec *spec, const Template *template,
                                   const Deadline *deadline, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean blame;

    if (vm_restore(pod, spec, template, deadline, &blame, &problem))
        return TRUE;
    if (!blame) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    template_store_quarantine(pod->manager->templates, template, problem->message);
    return vm_undo(pod, deadline, error) && vm_boot(pod, spec, deadline, error);
}

/* ---- from a checkpoint ---- */

/* settings keeps the strings of the description. */
static gboolean vm_describe_running(Pod *pod, HandlerSettings *settings, DomainSpec *ret_spec, GError **error)
{
    const Handler *handler = handler_find(pod->settings->handlers, pod->handler, error);
    const VmSize size = pod_vm_size(pod);

    if (handler == NULL || !handler_settings(handler, pod->config, settings, error))
        return FALSE;
    *ret_spec = vm_describe(pod->manager, settings, &size);
    return TRUE;
}

/* The handler may have got another processor or accelerator since the pod's start, and the guest may have
 * been saved on another node. */
static gboolean processor_ask(Pod *pod, DomainSpec *spec, GError **error)
{
    if (!vmm_accelerator(pod->manager->vmm, pod->id, &spec->accelerator, error))
        return FALSE;
    return !g_str_equal(spec->architecture, "x86_64") ||
           vmm_processor(pod->manager->vmm, pod->id, &spec->cpu, &spec->saved_time_stamp_khz, error);
}

char **pod_start_run_inputs(Pod *pod, GError **error)
{
    g_auto(HandlerSettings) settings = {0};
    DomainSpec spec;

    if (!vm_describe_running(pod, &settings, &spec, error) || !processor_ask(pod, &spec, error))
        return NULL;
    return template_run_inputs(pod->manager->vmm, &spec, error);
}

gboolean pod_start_check_checkpoint(SandboxManager *manager, const PodRequest *request, GError **error)
{
    const DomainSpec spec = vm_describe(manager, &request->settings, &request->size);
    g_auto(GStrv) inputs = template_run_inputs(manager->vmm, &spec, error);
    g_autofree char *difference = NULL;

    if (inputs == NULL)
        return FALSE;
    difference = checkpoint_difference(request->checkpoint, (const char *const *)inputs);
    return difference == NULL ||
           fail(error, STATUS_FAILED_PRECONDITION, "the checkpoint cannot continue here: %s", difference);
}

/* disks: CheckpointDisk, as layers. */
static gboolean layers_attach_at(Pod *pod, const GPtrArray *disks, const GPtrArray *layers, GError **error)
{
    for (guint i = 0; i < disks->len; i++)
        if (!vm_pod_attach_layer_at(pod, layers->pdata[i], ((CheckpointDisk *)disks->pdata[i])->lun, error))
            return FALSE;
    return TRUE;
}

/* Attaches the layers that the saved guest has as disks (CheckpointDisk), at the same places. The pod's id
 * pins them until QEMU has opened them. */
static gboolean saved_disks_attach(Pod *pod, const GPtrArray *disks, GError **error)
{
    g_autoptr(GPtrArray) keys = g_ptr_array_new();
    g_autoptr(GPtrArray) layers = NULL;
    gboolean good;

    for (guint i = 0; i < disks->len; i++)
        g_ptr_array_add(keys, ((CheckpointDisk *)disks->pdata[i])->key);
    g_ptr_array_add(keys, NULL);
    good = image_service_pin_layers(pod->manager->images, pod->id, (const char *const *)keys->pdata, &layers,
                                    error);
    if (!good)
        g_prefix_error(error, "a layer that the saved guest has as a disk is not on this node: ");
    good = good && layers_attach_at(pod, disks, layers, error);
    image_service_unpin(pod->manager->images, pod->id);
    return good;
}

static gboolean saved_blocks_attach(Pod *pod, const GArray *blocks, GError **error)
{
    for (guint i = 0; i < blocks->len; i++)
        if (!vm_pod_attach_block_at(pod, &g_array_index(blocks, BlockAttachment, i), error))
            return FALSE;
    return TRUE;
}

/* A disk that is packed is unpacked into the pod's own, and takes no more of the node than a pod may. */
static gboolean checkpoint_disk_unpack_to(const Checkpoint *checkpoint, const char *path,
                                          const Deadline *deadline, GError **error)
{
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    struct stat status;
    gboolean good = fd >= 0 && fstat(fd, &status) == 0;

    if (!good)
        fail_errno(error, errno, "cannot open the pod's disk");
    else if (checkpoint->disk.bytes > (guint64)status.st_size)
        good = fail(error, STATUS_RESOURCE_EXHAUSTED,
                    "the checkpoint's disk has %" G_GUINT64_FORMAT
                    " bytes, and the disk of a pod has %" G_GINT64_FORMAT " on this node",
                    checkpoint->disk.bytes, (gint64)status.st_size);
    else
        good = (ftruncate(fd, 0) == 0 || fail_errno(error, errno, "cannot empty the pod's disk")) &&
               checkpoint_disk_unpack(checkpoint, fd, deadline, error);
    if (fd >= 0)
        close(fd);
    return good;
}

/* The pod's own copy is checked, so that nobody can change it afterwards. */
static gboolean checkpoint_disk_check(Pod *pod, const Checkpoint *checkpoint, GError **error)
{
    g_autofree char *path = guest_disk_path(&pod->manager->guests, pod->id);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    FileFacts facts;
    gboolean read = fd >= 0 && file_facts(fd, &facts);

    if (!read)
        fail_errno(error, errno, "cannot read the copy of the checkpoint's disk");
    if (fd >= 0)
        close(fd);
    return read &&
           ((facts.bytes == checkpoint->disk.bytes && g_str_equal(facts.digest, checkpoint->disk.digest)) ||
            fail(error, STATUS_DATA_LOSS,
                 "the checkpoint's disk is damaged: its digest is not the one in the manifest"));
}

/* Creates a VM of that size and with those layers (CheckpointDisk) and block devices (BlockAttachment), which
 * expects the state of a saved one. */
static gboolean vm_create_for_saved(Pod *pod, const DomainSpec *spec, const VmSize *size,
                                    const GPtrArray *disks, const GArray *blocks, const Deadline *deadline,
                                    GError **error)
{
    DomainSpec incoming = *spec;

    incoming.incoming = TRUE;
    incoming.plugged_memory_bytes = size->memory_bytes - size->boot_memory_bytes;
    return guest_vm_create(&pod->manager->guests, pod->id, &incoming, deadline, error) &&
           vmm_plug_vcpus(pod->manager->vmm, pod->id, size->vcpus, error) &&
           saved_disks_attach(pod, disks, error) && saved_blocks_attach(pod, blocks, error);
}

static gboolean checkpoint_disk_make(Pod *pod, const Checkpoint *checkpoint, const Deadline *deadline,
                                     GError **error)
{
    GuestEnvironment *guests = &pod->manager->guests;
    g_autofree char *saved = g_strdup_printf("/proc/self/fd/%d", checkpoint->disk_fd);
    g_autofree char *path = guest_disk_path(guests, pod->id);

    if (checkpoint->disk_packed != NULL)
        return guest_files_make(guests, pod->id, NULL, error) &&
               checkpoint_disk_unpack_to(checkpoint, path, deadline, error);
    return guest_files_make(guests, pod->id, saved, error) && checkpoint_disk_check(pod, checkpoint, error);
}

static gboolean vm_create_from_checkpoint(Pod *pod, const DomainSpec *spec, const PodRequest *request,
                                          const Deadline *deadline, GError **error)
{
    const Checkpoint *checkpoint = request->checkpoint;
    DomainSpec complete = *spec;

    complete.saved_time_stamp_khz = checkpoint_time_stamp_khz(checkpoint);
    return checkpoint_disk_make(pod, checkpoint, deadline, error) &&
           vm_create_for_saved(pod, &complete, &request->size, checkpoint->disks, request->blocks, deadline,
                               error);
}

static gboolean vm_continue_once(Pod *pod, const DomainSpec *spec, const PodRequest *request,
                                 const Deadline *deadline, GError **error)
{
    const Checkpoint *checkpoint = request->checkpoint;
    gint64 begin_us = g_get_monotonic_time();

    if (!vm_create_from_checkpoint(pod, spec, request, deadline, error) || !vm_join(pod, error))
        return FALSE;
    trace_add(pod->trace, TRACE_CREATE, NULL, begin_us);
    begin_us = g_get_monotonic_time();
    if (!vmm_state_restore_from(pod->manager->vmm, pod->id, checkpoint->ram.bytes, checkpoint_ram_each,
                                (gpointer)checkpoint, checkpoint->device_fd, deadline, error) ||
        !vm_run(pod, FALSE, deadline, error))
        return FALSE;
    trace_add(pod->trace, TRACE_RESTORE, NULL, begin_us);
    pod->start = "checkpoint";
    return TRUE;
}

/* The end of a VM that has not run yet is reported to nobody, and libvirt's error may be any. */
static void explain_end(Pod *pod, GError **error)
{
    Deadline deadline = deadline_in_ms(END_REPORT_MS);
    g_autofree char *text = NULL;

    while (error != NULL && pod_may_explain(*error) && text == NULL && deadline_check(&deadline, "", NULL)) {
        text = vmm_stop_text(pod->manager->vmm, pod->id);
        if (text == NULL)
            g_usleep(LOOK_EVERY_US);
    }
    if (text == NULL)
        return;
    g_clear_error(error);
    fail(error, STATUS_UNAVAILABLE, "the pod's virtual machine has ended: %s", text);
}

static gboolean vm_continue(Pod *pod, const DomainSpec *spec, const PodRequest *request,
                            const Deadline *deadline, GError **error)
{
    if (vm_continue_once(pod, spec, request, deadline, error))
        return TRUE;
    explain_end(pod, error);
    return FALSE;
}

/* ---- a pod's own guest, which was saved ---- */

/* The file that says what the guest's is, in three lines: "CPU", "RATE kHz", and "kvm" or "tcg". */
#define PROCESSOR "processor"
enum { PROCESSOR_LINES = 3 };

#define INPUTS "inputs" /* the file with template_own_run_inputs(), each with a NUL behind it */

static gboolean processor_write(int directory, const DomainSpec *spec, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/" PROCESSOR, directory);
    g_autofree char *rate = time_stamp_text(spec->saved_time_stamp_khz, FALSE);
    g_autofree char *text = g_strdup_printf("%s\n%s\n%s\n", spec->cpu, rate, spec->accelerator);

    return file_write_atomic(path, text, strlen(text), 0600, error);
}

static gboolean inputs_write(int directory, char *const *inputs, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/" INPUTS, directory);
    g_autoptr(GString) text = g_string_new(NULL);

    for (; *inputs != NULL; inputs++)
        g_string_append_len(text, *inputs, (gssize)strlen(*inputs) + 1);
    return file_write_atomic(path, text->str, text->len, 0600, error);
}

gboolean pod_start_save_inputs(Pod *pod, int directory, GError **error)
{
    g_auto(HandlerSettings) settings = {0};
    g_auto(GStrv) inputs = NULL;
    DomainSpec spec;

    if (!vm_describe_running(pod, &settings, &spec, error))
        return FALSE;
    if (!g_str_equal(spec.architecture, "x86_64"))
        spec.cpu = CPU_HOST;
    if (!processor_ask(pod, &spec, error))
        return FALSE;
    inputs = template_own_run_inputs(pod->manager->vmm, &spec, error);
    return inputs != NULL && processor_write(directory, &spec, error) &&
           inputs_write(directory, inputs, error);
}

/* Return: as pod_start_save_inputs() has written them, which the caller frees. */
static char **inputs_read(int directory, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/" INPUTS, directory);
    g_autoptr(GPtrArray) inputs = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *text = NULL;
    gsize length;

    if (!file_read(path, INPUTS_MAX_BYTES, &text, &length, error))
        return NULL;
    for (gsize at = 0; at < length; at += strlen(text + at) + 1)
        g_ptr_array_add(inputs, g_strdup(text + at));
    g_ptr_array_add(inputs, NULL);
    return (char **)g_ptr_array_steal(inputs, NULL);
}

/* spec: with the saved guest's processor. */
static gboolean inputs_check(const Pod *pod, int directory, const DomainSpec *spec, GError **error)
{
    g_auto(GStrv) saved = inputs_read(directory, error);
    DomainSpec here_spec = *spec;
    g_auto(GStrv) here = NULL;
    g_autofree char *difference = NULL;

    here_spec.saved_time_stamp_khz = 0; /* what this node can give is compared */
    here = saved != NULL ? template_own_run_inputs(pod->manager->vmm, &here_spec, error) : NULL;
    if (here == NULL)
        return FALSE;
    difference = checkpoint_inputs_difference(saved, "the saved memory", (const char *const *)here);
    return difference == NULL ||
           fail(error, STATUS_FAILED_PRECONDITION, "it cannot go on here: %s", difference);
}

/* Strings are static. */
static gboolean processor_read(int directory, DomainSpec *spec, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/" PROCESSOR, directory);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!file_read(path, PROCESSOR_MAX_BYTES, &text, NULL, error))
        return FALSE;
    lines = g_strsplit(g_strchomp(text), "\n", PROCESSOR_LINES);
    if (g_strv_length(lines) != PROCESSOR_LINES)
        return fail(error, STATUS_DATA_LOSS, "the file " PROCESSOR " of the saved guest is damaged");
    spec->cpu = g_intern_string(lines[0]);
    spec->saved_time_stamp_khz = time_stamp_parse(lines[1]);
    spec->accelerator = g_intern_string(lines[2]);
    return TRUE;
}

gboolean pod_start_load_saved(Pod *pod, int directory, int ram_fd, int device_fd, const GArray *blocks,
                              const Deadline *deadline, GError **error)
{
    g_autofree char *title = vm_title(pod);
    g_autoptr(GPtrArray) disks = checkpoint_disks_of(pod->disks);
    g_auto(HandlerSettings) settings = {0};
    const VmSize size = pod_vm_size(pod);
    DomainSpec spec;

    if (!vm_describe_running(pod, &settings, &spec, error) || !processor_read(directory, &spec, error))
        return FALSE;
    if (!inputs_check(pod, directory, &spec, error))
        return FALSE;
    spec.title = title;
    if (vm_create_for_saved(pod, &spec, &size, disks, blocks, deadline, error) && vm_join(pod, error) &&
        vmm_state_restore(pod->manager->vmm, pod->id, ram_fd, device_fd, NULL, deadline, error))
        return TRUE;
    explain_end(pod, error);
    return FALSE;
}

gboolean pod_start_undo_saved(Pod *pod, const Deadline *deadline, GError **error)
{
    Deadline destroy = deadline_sooner(deadline, DESTROY_TIMEOUT_MS);

    return guest_vm_destroy(&pod->manager->guests, pod->id, &destroy, error) &&
           tap_delete(pod->tap, pod->netns_path, error);
}

gboolean pod_start_run_saved(Pod *pod, const Deadline *deadline, GError **error)
{
    return vm_run(pod, FALSE, deadline, error);
}

/* ---- any ---- */

static gboolean vm_start(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error)
{
    g_autofree char *title = vm_title(pod);
    DomainSpec spec = vm_describe(pod->manager, &request->settings, &request->size);
    g_autoptr(Template) template = NULL;

    spec.title = title;
    if (request->checkpoint != NULL)
        return vm_continue(pod, &spec, request, deadline, error);
    template = pod->pooled_template != NULL ? template_ref(pod->pooled_template)
                                            : template_find(pod->manager, &request->settings, &spec);
    if (pod->pooled_template != NULL) {
        gboolean retry;

        if (vm_restore_pooled(pod, &spec, template, deadline, &retry, error))
            return TRUE;
        if (!retry)
            return FALSE;
    }
    if (template != NULL)
        return vm_restore_or_boot(pod, &spec, template, deadline, error);
    return vm_boot(pod, &spec, deadline, error);
}

gboolean pod_start_vm(Pod *pod, const PodRequest *request, const Deadline *deadline, GError **error)
{
    const gint64 begin_us = g_get_monotonic_time();
    gboolean started = vm_start(pod, request, deadline, error);
    const char *how = pod->pooled_template != NULL ? "pooled" : pod->start;

    metric_add(&starts, 1, started ? how : "failed", NULL);
    if (started)
        metric_observe_since(&start_seconds, begin_us, how, NULL);
    return started;
}
