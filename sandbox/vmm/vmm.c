#include "sandbox/vmm/vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "sandbox/host/accelerator.h"
#include "sandbox/host/time_stamp.h"
#include "sandbox/vmm/console.h"
#include "sandbox/vmm/reaper.h"
#include "sandbox/vmm/virtiofsd.h"
#include "sandbox/vmm/vmm_root.h"
#include "sandbox/vmm/vmm_table.h"

enum {
    LOG_TAIL_BYTES = 4096,
    LOG_TAIL_LINES = 4,
    DESTROY_TIMEOUT_MS = 30 * 1000, /* for QEMU to vanish after SIGKILL when the caller has no limit */
    REAP_TRIES = 100,               /* a millisecond each */
    TRIM_INTERVAL_MS = 15 * 1000,
    CONSOLE_MAX_BYTES = 1 << 20,
    ADOPTION_TIMEOUT_MS = 20 * 1000,
    DETACH_POLL_MS = 20,
    UNBLOCK_INTERVAL_MS = 2 * 1000,
};

struct Vmm {
    gboolean embedded;
    gboolean kvm;
    char *qemu_user;
    char *qemu_group;
    char *accelerator_wish;
    char *accelerator; /* in a sentence */
    char *state_dir;
    char *root;       /* of the embedded driver */
    char *run_dir;    /* where libvirt keeps pid files */
    char *socket_dir; /* of the file servers */
    VmmIdentity identity;
    int lock_fd;
    Reaper *reaper;
    virConnectPtr connection;
    int callback_id;
    int qemu_callback_id;
    VmmStoppedFunc stopped;
    gpointer stopped_data;

    GThread *event_thread;
    gint event_stop;

    VmmTable *table;
    int trim_timer;

    GThread *unblock_thread;
    GMutex unblock_lock;
    GCond unblock_changed;
    gboolean unblock_wanted; /* some guest may be blocked */
    gboolean unblock_stop;
};

static gint vmm_is_open;

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)

/* libvirt prints errors by default; ours travel in GError. */
static void print_nothing(void *data, virErrorPtr error)
{
    (void)data;
    (void)error;
}

static StatusCode status_of(int code)
{
    switch (code) {
    case VIR_ERR_NO_DOMAIN:
        return STATUS_NOT_FOUND;
    case VIR_ERR_DOM_EXIST:
        return STATUS_ALREADY_EXISTS;
    case VIR_ERR_OPERATION_TIMEOUT:
    case VIR_ERR_NO_CONNECT:
    case VIR_ERR_INTERNAL_ERROR:
        return STATUS_UNAVAILABLE;
    default:
        return STATUS_INTERNAL;
    }
}

static gboolean fail_libvirt(GError **error, const char *doing)
{
    virErrorPtr last = virGetLastError();
    g_autofree char *message = g_strdup(last != NULL ? last->message : "unknown libvirt error");

    return fail(error, status_of(last != NULL ? last->code : 0), "%s: %s", doing, g_strchomp(message));
}

/* ---- events ---- */

static VmmStopReason reason_of(int detail)
{
    switch (detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
        return VMM_STOPPED_SHUTDOWN;
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
        return VMM_STOPPED_DESTROYED;
    default:
        return VMM_STOPPED_CRASHED;
    }
}

/* ---- guests that the disk holds up ---- */

/* QEMU pauses a guest whose writes find no space, as libvirt asks it to, rather than let it see errors that
 * its file systems do not survive. Nobody else would tell it to go on. */

static void note_blocked(Vmm *vmm, const char *name)
{
    vmm_table_set_blocked(vmm->table, name, TRUE);
    g_mutex_lock(&vmm->unblock_lock);
    vmm->unblock_wanted = TRUE;
    g_cond_signal(&vmm->unblock_changed);
    g_mutex_unlock(&vmm->unblock_lock);
}

static gboolean is_blocked(virDomainPtr domain)
{
    int state;
    int reason;

    return virDomainGetState(domain, &state, &reason, 0) == 0 && state == VIR_DOMAIN_PAUSED &&
           reason == VIR_DOMAIN_PAUSED_IOERROR;
}

/* Its write is tried again, and it is paused again when that fails, which is another event. */
static void try_unblock(Vmm *vmm, const char *name)
{
    g_autoptr(virDomain) domain = virDomainLookupByName(vmm->connection, name);

    if (domain != NULL && is_blocked(domain)) {
        virDomainResume(domain);
        return;
    }
    vmm_table_set_blocked(vmm->table, name, FALSE);
    log_info(LOG_FIELDS("sandbox", name), "the disk takes the guest's writes again");
}

static gpointer run_unblock(gpointer data)
{
    Vmm *vmm = data;

    g_mutex_lock(&vmm->unblock_lock);
    while (!vmm->unblock_stop) {
        g_autoptr(GPtrArray) names = NULL;

        if (!vmm->unblock_wanted) {
            g_cond_wait(&vmm->unblock_changed, &vmm->unblock_lock);
            continue;
        }
        g_cond_wait_until(&vmm->unblock_changed, &vmm->unblock_lock,
                          g_get_monotonic_time() + UNBLOCK_INTERVAL_MS * G_TIME_SPAN_MILLISECOND);
        names = vmm_table_blocked(vmm->table);
        vmm->unblock_wanted = names->len > 0;
        g_mutex_unlock(&vmm->unblock_lock);
        for (guint i = 0; i < names->len; i++)
            try_unblock(vmm, names->pdata[i]);
        g_mutex_lock(&vmm->unblock_lock);
    }
    g_mutex_unlock(&vmm->unblock_lock);
    return NULL;
}

static void stop_unblock(Vmm *vmm)
{
    if (vmm->unblock_thread != NULL) {
        g_mutex_lock(&vmm->unblock_lock);
        vmm->unblock_stop = TRUE;
        g_cond_signal(&vmm->unblock_changed);
        g_mutex_unlock(&vmm->unblock_lock);
        g_thread_join(vmm->unblock_thread);
    }
    g_mutex_clear(&vmm->unblock_lock);
    g_cond_clear(&vmm->unblock_changed);
}

gboolean vmm_is_blocked(Vmm *vmm, const char *name)
{
    return vmm_table_is_blocked(vmm->table, name);
}

/* ---- libvirt's events ---- */

static int on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail, void *data)
{
    Vmm *vmm = data;
    VmmStopReason reason = reason_of(detail);

    (void)connection;
    if (event == VIR_DOMAIN_EVENT_STOPPED && vmm_table_end(vmm->table, virDomainGetName(domain), &reason) &&
        vmm->stopped != NULL)
        vmm->stopped(virDomainGetName(domain), reason, vmm->stopped_data);
    if (event == VIR_DOMAIN_EVENT_SUSPENDED && detail == VIR_DOMAIN_EVENT_SUSPENDED_IOERROR) {
        if (!vmm_table_is_blocked(vmm->table, virDomainGetName(domain)))
            log_warning(LOG_FIELDS("sandbox", virDomainGetName(domain)),
                        "the disk does not take the guest's writes (it is full?): the guest waits");
        note_blocked(vmm, virDomainGetName(domain));
    }
    return 0;
}

/* QEMU's own word, which comes before the domain's end. No pod's guest resets itself but in a panic
 * (panic=-1), and libvirt would call that a shutdown. */
static void on_qemu_shutdown(virConnectPtr connection, virDomainPtr domain, const char *event,
                             long long seconds, unsigned int micros, const char *details, void *data)
{
    Vmm *vmm = data;

    (void)connection, (void)event, (void)seconds, (void)micros;
    if (details != NULL && strstr(details, "guest-reset") != NULL)
        vmm_table_reset(vmm->table, virDomainGetName(domain));
}

static void on_trim(int timer, void *data)
{
    Vmm *vmm = data;

    (void)timer;
    vmm_table_trim_consoles(vmm->table, CONSOLE_MAX_BYTES);
}

/* ---- the event loop ---- */

static gpointer run_events(gpointer data)
{
    Vmm *vmm = data;

    while (!g_atomic_int_get(&vmm->event_stop))
        if (virEventRunDefaultImpl() < 0)
            g_usleep(G_USEC_PER_SEC / 10); /* never seen; do not spin if it happens */
    return NULL;
}

static void remove_timer(int timer, void *data)
{
    (void)data;
    virEventRemoveTimeout(timer);
}

static void stop_events(Vmm *vmm)
{
    if (vmm->event_thread == NULL)
        return;
    g_atomic_int_set(&vmm->event_stop, TRUE);
    virEventAddTimeout(0, remove_timer, NULL, NULL);
    g_thread_join(g_steal_pointer(&vmm->event_thread));
}

/* The implementation is libvirt's own and global: registered once, run by one Vmm at a time. */
static void start_events(Vmm *vmm)
{
    static gsize registered;

    if (g_once_init_enter(&registered)) {
        virSetErrorFunc(NULL, print_nothing);
        virEventRegisterDefaultImpl();
        g_once_init_leave(&registered, 1);
    }
    vmm->event_thread = g_thread_new("libvirt-events", run_events, vmm);
}

/* ---- opening ---- */

/* libvirt's own log would go to stderr, in its own format; everything that matters is in our errors. Before
 * other threads exist, hence the environment may be changed. */
static void send_log_to_file(Vmm *vmm)
{
    g_autofree char *outputs = g_strdup_printf("4:file:%s/libvirt.log", vmm->root);
    g_autofree char *path = g_build_filename(vmm->root, "libvirt.log", NULL);

    console_trim(path, 0);
    g_setenv("LIBVIRT_LOG_OUTPUTS", outputs, FALSE);
}

static gboolean open_embedded(Vmm *vmm, const VmmConfig *config, GError **error)
{
    g_autofree char *uri = g_strdup_printf("qemu:///embed?root=%s", vmm->root);

    if (!vmm_root_prepare(vmm->root, config, error))
        return FALSE;
    vmm->reaper = reaper_start(error);
    if (vmm->reaper == NULL)
        return FALSE;
    send_log_to_file(vmm);
    start_events(vmm);
    vmm->connection = virConnectOpen(uri);
    return vmm->connection != NULL || fail_libvirt(error, "cannot open libvirt's embedded driver");
}

/* libvirtd was restarted. Everything is found again by a start of ours, which the service manager makes; the
 * guests run on. */
static void on_closed(virConnectPtr connection, int reason, void *data)
{
    (void)connection;
    (void)data;
    if (reason == VIR_CONNECT_CLOSE_REASON_CLIENT)
        return; /* vmm_close() */
    log_error(LOG_NO_FIELDS, "libvirt closed the connection: ending, to be started again");
    kill(getpid(), SIGTERM);
}

static gboolean open_daemon(Vmm *vmm, const VmmConfig *config, GError **error)
{
    start_events(vmm);
    vmm->connection = virConnectOpen(config->uri);
    if (vmm->connection == NULL)
        return fail_libvirt(error, config->uri);
    /* A peer that is gone without a word is found within the minute. */
    virConnectSetKeepAlive(vmm->connection, 10, 3);
    virConnectRegisterCloseCallback(vmm->connection, on_closed, NULL, NULL);
    return TRUE;
}

typedef struct {
    virDomainPtr domain;
    GMutex lock;
    GCond changed;
    gboolean done;
    gboolean lives;
} Adoption;

static gpointer adoption_thread(gpointer data)
{
    Adoption *adoption = data;
    virDomainMemoryStatStruct statistics[VIR_DOMAIN_MEMORY_STAT_NR];
    gboolean lives = virDomainMemoryStats(adoption->domain, statistics, VIR_DOMAIN_MEMORY_STAT_NR, 0) >= 0;

    g_mutex_lock(&adoption->lock);
    adoption->lives = lives;
    adoption->done = TRUE;
    g_cond_signal(&adoption->changed);
    g_mutex_unlock(&adoption->lock);
    return NULL;
}

static gboolean kill_qemu(Vmm *vmm, const char *name, const Deadline *deadline, GError **error);

/* A reopened domain belongs to libvirt's reconnecting thread until it is known to live; a call that needs the
 * domain's job waits for that, and fails when the domain is dead. A QEMU that hangs (stopped, say) would keep
 * both, and this daemon's start, waiting for ever: it is ended, as a guest that hangs is later. */
static gboolean wait_for_adoption(Vmm *vmm, virDomainPtr domain)
{
    Adoption adoption = {.domain = domain};
    gint64 limit_us = g_get_monotonic_time() + ADOPTION_TIMEOUT_MS * G_TIME_SPAN_MILLISECOND;
    GThread *thread;

    g_mutex_init(&adoption.lock);
    g_cond_init(&adoption.changed);
    thread = g_thread_new("adoption", adoption_thread, &adoption);
    g_mutex_lock(&adoption.lock);
    while (!adoption.done && g_cond_wait_until(&adoption.changed, &adoption.lock, limit_us))
        continue;
    if (!adoption.done) {
        log_warning(LOG_FIELDS("domain", virDomainGetName(domain)),
                    "QEMU does not answer for %d s: the guest is ended", ADOPTION_TIMEOUT_MS / 1000);
        kill_qemu(vmm, virDomainGetName(domain), NULL, NULL);
    }
    g_mutex_unlock(&adoption.lock);
    g_thread_join(thread);
    g_mutex_clear(&adoption.lock);
    g_cond_clear(&adoption.changed);
    return adoption.lives;
}

static gboolean is_mine(Vmm *vmm, virDomainPtr domain)
{
    char *metadata = virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, DOMAIN_XML_NAMESPACE, 0);
    g_autofree char *owner = g_markup_escape_text(vmm->state_dir, -1);
    g_autofree char *text = g_strdup_printf(">%s<", owner);
    gboolean mine = metadata != NULL && strstr(metadata, text) != NULL;

    free(metadata);
    return mine;
}

static gboolean for_each_domain(Vmm *vmm, void (*visit)(Vmm *vmm, virDomainPtr domain, gpointer data),
                                gpointer data, GError **error)
{
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(vmm->connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

    if (count < 0)
        return fail_libvirt(error, "cannot list the guests");
    for (int i = 0; i < count; i++) {
        if (is_mine(vmm, domains[i]))
            visit(vmm, domains[i], data);
        virDomainFree(domains[i]);
    }
    free(domains);
    return TRUE;
}

/* Out of the XML that domain_xml.c built, as libvirt gives it back; NULL when it is not there. */
static char *console_of(virDomainPtr domain)
{
    char *xml = virDomainGetXMLDesc(domain, 0);
    const char *serial = xml != NULL ? strstr(xml, "<serial type='file'>") : NULL;
    const char *path = serial != NULL ? strstr(serial, "path='") : NULL;
    char *console = path != NULL ? g_strndup(path + 6, strcspn(path + 6, "'")) : NULL;

    free(xml);
    return console;
}

/* Entered before the wait, so that an end in between is taken out again by its event. */
static void adopt(Vmm *vmm, virDomainPtr domain, gpointer data)
{
    const char *name = virDomainGetName(domain);
    g_autofree char *console = console_of(domain);

    (void)data;
    if (!vmm_table_reserve(vmm->table, name, console, NULL))
        return;
    if (wait_for_adoption(vmm, domain)) {
        vmm_table_live(vmm->table, name);
        if (is_blocked(domain))
            note_blocked(vmm, name);
    } else
        vmm_table_forget(vmm->table, name);
}

/* The first look at QEMU's capabilities takes half a second, which is better spent now than in the first
 * pod's start. */
static gboolean warm_capabilities(Vmm *vmm, GError **error)
{
    char *capabilities = virConnectGetDomainCapabilities(vmm->connection, NULL, accelerator_architecture(),
                                                         NULL, vmm->kvm ? "kvm" : "qemu", 0);

    if (capabilities == NULL)
        return fail_libvirt(error, "QEMU cannot be used");
    free(capabilities);
    return TRUE;
}

static gboolean open_connection(Vmm *vmm, const VmmConfig *config, GError **error)
{
    if (vmm->embedded ? !open_embedded(vmm, config, error) : !open_daemon(vmm, config, error))
        return FALSE;
    vmm->callback_id = virConnectDomainEventRegisterAny(vmm->connection, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                                        VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), vmm, NULL);
    vmm->qemu_callback_id = virConnectDomainQemuMonitorEventRegister(vmm->connection, NULL, "SHUTDOWN",
                                                                     on_qemu_shutdown, vmm, NULL, 0);
    if (vmm->callback_id < 0 || vmm->qemu_callback_id < 0)
        return fail_libvirt(error, "cannot listen to libvirt's events");
    vmm->unblock_thread = g_thread_new("unblock", run_unblock, vmm);
    vmm->trim_timer = virEventAddTimeout(TRIM_INTERVAL_MS, on_trim, vmm, NULL);
    virtiofsd_end_orphans(vmm->socket_dir);
    return for_each_domain(vmm, adopt, NULL, error) && warm_capabilities(vmm, error);
}

static gboolean open_locked(Vmm *vmm, const VmmConfig *config, GError **error)
{
    g_autofree char *lock_path = g_build_filename(vmm->state_dir, "vmm.lock", NULL);
    g_auto(AcceleratorFacts) facts = {0};

    if (!vmm_root_identity(config->qemu_user, config->qemu_group, &vmm->identity, error))
        return FALSE;
    if (vmm->embedded)
        vmm_root_open_kvm(&vmm->identity);
    vmm->qemu_user = g_strdup(config->qemu_user);
    vmm->qemu_group = g_strdup(config->qemu_group);
    vmm->accelerator_wish = g_strdup(config->accelerator);
    facts = accelerator_look(vmm->qemu_user, vmm->qemu_group);
    if (!accelerator_choose(config->accelerator, &facts, &vmm->kvm, &vmm->accelerator, error))
        return FALSE;
    if (!dir_make(vmm->state_dir, 0711, error) || !file_lock(lock_path, &vmm->lock_fd, error))
        return g_prefix_error(error, "opening the guests of %s: ", vmm->state_dir), FALSE;
    return open_connection(vmm, config, error);
}

Vmm *vmm_open(const VmmConfig *config, VmmStoppedFunc stopped, gpointer data, GError **error)
{
    Vmm *vmm;

    if (!g_atomic_int_compare_and_exchange(&vmm_is_open, FALSE, TRUE)) {
        fail(error, STATUS_FAILED_PRECONDITION, "the hypervisor is open in this process already");
        return NULL;
    }
    vmm = g_new0(Vmm, 1);
    vmm->embedded = strcmp(config->uri, "embed") == 0;
    vmm->state_dir = g_strdup(config->state_dir);
    vmm->root = g_build_filename(config->state_dir, "libvirt", NULL);
    vmm->run_dir =
        vmm->embedded ? g_build_filename(vmm->root, "run", "qemu", NULL) : g_strdup("/run/libvirt/qemu");
    vmm->socket_dir = g_strdup(config->run_dir);
    vmm->lock_fd = -1;
    vmm->callback_id = vmm->qemu_callback_id = -1;
    vmm->stopped = stopped;
    vmm->stopped_data = data;
    vmm->table = vmm_table_new();
    vmm->trim_timer = -1;
    g_mutex_init(&vmm->unblock_lock);
    g_cond_init(&vmm->unblock_changed);
    if (!open_locked(vmm, config, error)) {
        vmm_close(vmm);
        return NULL;
    }
    return vmm;
}

void vmm_close(Vmm *vmm)
{
    if (vmm == NULL)
        return;
    stop_unblock(vmm);
    if (vmm->callback_id >= 0)
        virConnectDomainEventDeregisterAny(vmm->connection, vmm->callback_id);
    if (vmm->qemu_callback_id >= 0)
        virConnectDomainQemuMonitorEventDeregister(vmm->connection, vmm->qemu_callback_id);
    if (vmm->connection != NULL)
        virConnectClose(vmm->connection);
    if (vmm->trim_timer >= 0)
        virEventRemoveTimeout(vmm->trim_timer);
    stop_events(vmm);
    reaper_stop(vmm->reaper);
    if (vmm->lock_fd >= 0)
        close(vmm->lock_fd);
    vmm_table_free(vmm->table);
    g_free(vmm->qemu_user);
    g_free(vmm->qemu_group);
    g_free(vmm->accelerator_wish);
    g_free(vmm->accelerator);
    g_free(vmm->state_dir);
    g_free(vmm->root);
    g_free(vmm->run_dir);
    g_free(vmm->socket_dir);
    g_free(vmm);
    g_atomic_int_set(&vmm_is_open, FALSE);
}

gboolean vmm_uses_kvm(Vmm *vmm, const char **ret_reason)
{
    if (ret_reason != NULL)
        *ret_reason = vmm->accelerator;
    return vmm->kvm;
}

/* ---- files that QEMU, unprivileged, opens by itself ---- */

static gboolean give_to_qemu(Vmm *vmm, int fd, const char *path, mode_t mode, GError **error)
{
    if (fd < 0)
        return fail_errno(error, errno, "cannot open %s", path);
    if (fchown(fd, vmm->identity.uid, vmm->identity.gid) != 0 || fchmod(fd, mode) != 0) {
        fail_errno(error, errno, "cannot give %s to QEMU", path);
        close(fd);
        return FALSE;
    }
    close(fd);
    return TRUE;
}

static gboolean prepare_disk(Vmm *vmm, const DiskSpec *disk, GError **error)
{
    if (!vmm->embedded || disk->readonly || disk->lasting)
        return TRUE;
    return give_to_qemu(vmm, open(disk->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), disk->path, 0600, error);
}

static gboolean prepare_files(Vmm *vmm, const DomainSpec *spec, GError **error)
{
    if (access(spec->kernel, R_OK) != 0)
        return fail(error, STATUS_INTERNAL, "the guest's kernel %s: %s", spec->kernel, g_strerror(errno));
    if (spec->initrd != NULL && access(spec->initrd, R_OK) != 0)
        return fail(error, STATUS_INTERNAL, "the guest's initramfs %s: %s", spec->initrd, g_strerror(errno));
    for (gsize i = 0; i < spec->n_disks; i++)
        if (!prepare_disk(vmm, &spec->disks[i], error))
            return FALSE;
    return !vmm->embedded ||
           give_to_qemu(vmm, open(spec->console_path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600),
                        spec->console_path, 0600, error);
}

static char *qemu_log_path(Vmm *vmm, const char *name)
{
    return g_strdup_printf("%s/log/qemu/%s.log", vmm->root, name);
}

/* BASE.fs and BASE.fs.log in run_dir: socket paths are short. */
static char *share_file(Vmm *vmm, const char *name, const char *suffix)
{
    return g_strdup_printf("%s/%.20s" VIRTIOFSD_SOCKET_SUFFIX "%s", vmm->socket_dir, name, suffix);
}

static void remove_logs(Vmm *vmm, const char *name)
{
    g_autofree char *qemu = qemu_log_path(vmm, name);
    g_autofree char *server = share_file(vmm, name, ".log");

    if (vmm->embedded)
        unlink(qemu);
    unlink(server);
}

/* libvirt's message often holds QEMU's last words already. */
static void append_qemu_log(Vmm *vmm, const char *name, GError **error)
{
    g_autofree char *path = qemu_log_path(vmm, name);
    g_autofree char *tail = console_tail(path, LOG_TAIL_BYTES, LOG_TAIL_LINES);
    g_autofree char *message = NULL;

    if (error == NULL || *error == NULL || *tail == '\0' || strstr((*error)->message, "qemu-system") != NULL)
        return;
    message = g_strdup_printf("%s; QEMU's log ends: %s", (*error)->message, tail);
    g_free((*error)->message);
    (*error)->message = g_steal_pointer(&message);
}

/* ---- the life of a domain ---- */

static gboolean choose_accelerator(Vmm *vmm, const char *wish, gboolean *ret_kvm, GError **error)
{
    g_auto(AcceleratorFacts) facts = {0};
    g_autofree char *reason = NULL;

    if (wish == NULL || g_str_equal(wish, vmm->accelerator_wish)) {
        *ret_kvm = vmm->kvm;
        return TRUE;
    }
    facts = accelerator_look(vmm->qemu_user, vmm->qemu_group);
    return accelerator_choose(wish, &facts, ret_kvm, &reason, error);
}

static gboolean create_reserved(Vmm *vmm, const DomainSpec *spec, GError **error)
{
    DomainSpec filled = *spec;
    g_autofree char *xml = NULL;
    g_autoptr(virDomain) domain = NULL;

    if (!choose_accelerator(vmm, spec->accelerator, &filled.accelerated, error))
        return FALSE;
    filled.owner = vmm->state_dir;
    filled.time_stamp_khz = filled.accelerated ? 0 : time_stamp_khz();
    if (!domain_xml_architecture_known(spec->architecture))
        return fail(error, STATUS_INVALID_ARGUMENT, "no guest can be made for the architecture %s",
                    spec->architecture);
    if (!prepare_files(vmm, spec, error))
        return FALSE;
    xml = domain_xml_build(&filled);
    domain = virDomainCreateXML(vmm->connection, xml, VIR_DOMAIN_START_PAUSED);
    if (domain == NULL) {
        fail_libvirt(error, "cannot start the guest");
        append_qemu_log(vmm, spec->name, error);
        return FALSE;
    }
    return spec->incoming || vmm_table_live(vmm->table, spec->name) ||
           fail(error, STATUS_UNAVAILABLE, "the guest ended as soon as it was started");
}

gboolean vmm_create(Vmm *vmm, const DomainSpec *spec, const Deadline *deadline, GError **error)
{
    if (!deadline_check(deadline, "starting the guest", error) ||
        !vmm_table_reserve(vmm->table, spec->name, spec->console_path, error))
        return FALSE;
    if (create_reserved(vmm, spec, error))
        return TRUE;
    vmm_table_forget(vmm->table, spec->name);
    remove_logs(vmm, spec->name);
    return FALSE;
}

static virDomainPtr find(Vmm *vmm, const char *name, GError **error)
{
    virDomainPtr domain = virDomainLookupByName(vmm->connection, name);

    if (domain == NULL)
        fail_libvirt(error, "the guest cannot be found");
    return domain;
}

gboolean vmm_resume(Vmm *vmm, const char *name, GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);

    if (domain == NULL)
        return FALSE;
    if (!vmm_table_live(vmm->table, name))
        return fail(error, STATUS_UNAVAILABLE, "the guest has ended");
    return virDomainResume(domain) == 0 || fail_libvirt(error, "cannot let the guest run");
}

gboolean vmm_pause(Vmm *vmm, const char *name, GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);

    if (domain == NULL)
        return FALSE;
    return virDomainSuspend(domain) == 0 || fail_libvirt(error, "cannot pause the guest");
}

gboolean vmm_monitor(Vmm *vmm, const char *name, const char *command, int fd, char **ret_reply,
                     GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);
    char *reply = NULL;
    int failed;

    if (domain == NULL)
        return FALSE;
    failed = fd >= 0 ? virDomainQemuMonitorCommandWithFiles(domain, command, 1, &fd, NULL, NULL, &reply, 0)
                     : virDomainQemuMonitorCommand(domain, command, &reply, 0);
    if (failed != 0) {
        fail_libvirt(error, "QEMU's monitor");
        append_qemu_log(vmm, name, error);
        return FALSE;
    }
    *ret_reply = reply;
    return TRUE;
}

gboolean vmm_versions(Vmm *vmm, gulong *ret_qemu, gulong *ret_libvirt, GError **error)
{
    return (virConnectGetVersion(vmm->connection, ret_qemu) == 0 &&
            virConnectGetLibVersion(vmm->connection, ret_libvirt) == 0) ||
           fail_libvirt(error, "cannot ask for QEMU's version");
}

/* libvirt looks whether the process is there once, then again after 200 ms. */
static void wait_for_reaper(pid_t pid)
{
    for (guint i = 0; i < REAP_TRIES && kill(pid, 0) == 0; i++)
        g_usleep(1000);
}

/* libvirt would ask QEMU politely and look again every 200 ms; nothing in the guest is worth that. The pidfd
 * is taken before the process is looked at, so a pid that is reused cannot be hit. */
static gboolean kill_qemu(Vmm *vmm, const char *name, const Deadline *deadline, GError **error)
{
    pid_t pid = vmm_root_pid(vmm->run_dir, name);
    struct pollfd ended = {.events = POLLIN};
    Deadline limit = deadline_sooner(deadline, DESTROY_TIMEOUT_MS);
    gboolean gone = TRUE;

    if (!vmm->embedded || pid == 0 || (ended.fd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0)
        return TRUE;
    if (vmm_root_pid(vmm->run_dir, name) == pid) {
        syscall(SYS_pidfd_send_signal, ended.fd, SIGKILL, NULL, 0);
        while (poll(&ended, 1, deadline_left_ms(&limit)) < 0 && errno == EINTR)
            continue;
        gone = (ended.revents & POLLIN) != 0;
        wait_for_reaper(pid);
    }
    close(ended.fd);
    return gone || fail(error, STATUS_DEADLINE_EXCEEDED, "QEMU (process %d) does not end", (int)pid);
}

static gboolean destroy_domain(virDomainPtr domain, GError **error)
{
    virErrorPtr last;

    if (virDomainDestroy(domain) == 0)
        return TRUE;
    last = virGetLastError();
    if (last != NULL && (last->code == VIR_ERR_NO_DOMAIN || last->code == VIR_ERR_OPERATION_INVALID))
        return TRUE; /* it has ended by itself */
    return fail_libvirt(error, "cannot destroy the guest");
}

gboolean vmm_destroy(Vmm *vmm, const char *name, const Deadline *deadline, GError **error)
{
    g_autoptr(virDomain) domain = virDomainLookupByName(vmm->connection, name);

    if (domain != NULL) {
        vmm_table_destroying(vmm->table, name);
        if (!kill_qemu(vmm, name, deadline, error) || !destroy_domain(domain, error))
            return FALSE;
    }
    remove_logs(vmm, name);
    if (vmm->embedded)
        vmm_root_forget(vmm->root, name);
    return TRUE;
}

void vmm_domain_free(VmmDomain *domain)
{
    if (domain == NULL)
        return;
    g_free(domain->name);
    g_free(domain);
}

static void list_one(Vmm *vmm, virDomainPtr domain, gpointer data)
{
    GPtrArray *list = data;
    VmmDomain *entry;
    int state;

    if (virDomainGetState(domain, &state, NULL, 0) < 0)
        return; /* ended meanwhile */
    entry = g_new0(VmmDomain, 1);
    entry->name = g_strdup(virDomainGetName(domain));
    entry->running = state == VIR_DOMAIN_RUNNING || is_blocked(domain);
    entry->pid = vmm_root_pid(vmm->run_dir, entry->name);
    g_ptr_array_add(list, entry);
}

gboolean vmm_list(Vmm *vmm, GPtrArray **ret_domains, GError **error)
{
    g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func((GDestroyNotify)vmm_domain_free);

    if (!for_each_domain(vmm, list_one, list, error))
        return FALSE;
    *ret_domains = g_steal_pointer(&list);
    return TRUE;
}

/* ---- devices ---- */

static gboolean attach(Vmm *vmm, const char *name, const char *xml, const char *what, GError **error)
{
    g_autofree char *doing = g_strdup_printf("cannot attach %s to the guest", what);
    g_autoptr(virDomain) domain = find(vmm, name, error);

    if (domain == NULL)
        return FALSE;
    return virDomainAttachDeviceFlags(domain, xml, VIR_DOMAIN_AFFECT_LIVE) == 0 || fail_libvirt(error, doing);
}

gboolean vmm_attach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, GError **error)
{
    g_autofree char *xml = domain_xml_disk(disk);

    return prepare_disk(vmm, disk, error) && attach(vmm, name, xml, disk->path, error);
}

gboolean vmm_has_disk(Vmm *vmm, const char *name, const char *serial, gboolean *ret_has, GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);
    /* What comes from elsewhere is escaped in XML, so that nothing else can look like the element. */
    g_autofree char *element = g_markup_printf_escaped("<serial>%s</serial>", serial);
    char *xml;

    if (domain == NULL)
        return FALSE;
    xml = virDomainGetXMLDesc(domain, 0);
    if (xml == NULL)
        return fail_libvirt(error, "cannot look at the guest's disks");
    *ret_has = strstr(xml, element) != NULL;
    free(xml);
    return TRUE;
}

/* ---- the size of a running guest ---- */

gboolean vmm_plug_vcpus(Vmm *vmm, const char *name, guint vcpus, GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);
    int present;

    if (domain == NULL)
        return FALSE;
    present = virDomainGetVcpusFlags(domain, VIR_DOMAIN_AFFECT_LIVE);
    if (present < 0)
        return fail_libvirt(error, "cannot count the guest's processors");
    return (guint)present >= vcpus || virDomainSetVcpusFlags(domain, vcpus, VIR_DOMAIN_AFFECT_LIVE) == 0 ||
           fail_libvirt(error, "cannot give the guest processors");
}

gboolean vmm_request_memory(Vmm *vmm, const char *name, guint64 pluggable_bytes, guint64 plugged_bytes,
                            GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);
    g_autofree char *xml = domain_xml_memory(pluggable_bytes, plugged_bytes);

    if (domain == NULL)
        return FALSE;
    return virDomainUpdateDeviceFlags(domain, xml, VIR_DOMAIN_AFFECT_LIVE) == 0 ||
           fail_libvirt(error, "cannot change the guest's memory");
}

/* libvirt learns it from QEMU's events and shows it in its XML only. */
gboolean vmm_plugged_memory(Vmm *vmm, const char *name, guint64 *ret_bytes, GError **error)
{
    static const char element[] = "<current unit='KiB'>";
    g_autoptr(virDomain) domain = find(vmm, name, error);
    const char *current;
    char *xml;

    if (domain == NULL)
        return FALSE;
    xml = virDomainGetXMLDesc(domain, 0);
    if (xml == NULL)
        return fail_libvirt(error, "cannot look at the guest's memory");
    current = strstr(xml, element);
    *ret_bytes = current != NULL ? g_ascii_strtoull(current + strlen(element), NULL, 10) * 1024 : 0;
    free(xml);
    return TRUE;
}

pid_t vmm_pid(Vmm *vmm, const char *name)
{
    return vmm_root_pid(vmm->run_dir, name);
}

gboolean vmm_attach_share(Vmm *vmm, const char *name, const ShareSpec *share, pid_t *ret_server,
                          GError **error)
{
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *log = share_file(vmm, name, ".log");
    g_autofree char *xml = domain_xml_share(share, socket);
    const VirtiofsdSpec server = {share->source, socket, log, vmm->identity.uid, vmm->identity.gid};
    gboolean attached;
    pid_t pid;

    if (!virtiofsd_start(&server, &pid, error))
        return FALSE;
    attached = attach(vmm, name, xml, share->source, error);
    if (!attached)
        virtiofsd_end(socket);
    unlink(socket);
    if (attached)
        *ret_server = pid;
    return attached;
}

gboolean vmm_share_is_guarded(Vmm *vmm, const char *name)
{
    g_autofree char *log = share_file(vmm, name, ".log");

    return virtiofsd_is_guarded(log);
}

/* As libvirt gives it back: our tags need no escaping. */
static gboolean has_share(virDomainPtr domain, const char *tag)
{
    g_autofree char *target = g_strdup_printf("<target dir='%s'/>", tag);
    char *xml = virDomainGetXMLDesc(domain, 0);
    gboolean found = xml != NULL && strstr(xml, target) != NULL;

    free(xml);
    return found;
}

gboolean vmm_detach_share(Vmm *vmm, const char *name, const ShareSpec *share, const Deadline *deadline,
                          GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);
    g_autofree char *socket = share_file(vmm, name, "");
    g_autofree char *xml = domain_xml_share(share, socket);

    if (domain == NULL)
        return FALSE;
    if (has_share(domain, share->tag) && virDomainDetachDeviceFlags(domain, xml, VIR_DOMAIN_AFFECT_LIVE) != 0)
        return fail_libvirt(error, "cannot detach the share from the guest");
    while (has_share(domain, share->tag)) {
        if (!deadline_check(deadline, "waiting for the guest to let go of a share", error))
            return FALSE;
        g_usleep(DETACH_POLL_MS * G_TIME_SPAN_MILLISECOND);
    }
    return TRUE;
}

gboolean vmm_detach_disk(Vmm *vmm, const char *name, const DiskSpec *disk, const Deadline *deadline,
                         GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);
    g_autofree char *xml = domain_xml_disk(disk);
    gboolean has = FALSE;

    if (domain == NULL || !vmm_has_disk(vmm, name, disk->serial, &has, error))
        return FALSE;
    if (has && virDomainDetachDeviceFlags(domain, xml, VIR_DOMAIN_AFFECT_LIVE) != 0)
        return fail_libvirt(error, "cannot detach a disk from the guest");
    while (has) {
        if (!deadline_check(deadline, "waiting for the guest to let go of a disk", error) ||
            !vmm_has_disk(vmm, name, disk->serial, &has, error))
            return FALSE;
        if (has)
            g_usleep(DETACH_POLL_MS * G_TIME_SPAN_MILLISECOND);
    }
    return TRUE;
}

/* As libvirt gives it back, in the source of the device. */
static gboolean has_pci(virDomainPtr domain, const PciAddress *address)
{
    g_autofree char *source =
        g_strdup_printf("<address domain='0x%04x' bus='0x%02x' slot='0x%02x' function='0x%x'/>",
                        address->domain, address->bus, address->slot, address->function);
    char *xml = virDomainGetXMLDesc(domain, 0);
    gboolean found = xml != NULL && strstr(xml, source) != NULL;

    free(xml);
    return found;
}

gboolean vmm_attach_pci(Vmm *vmm, const char *name, const PciAddress *address, GError **error)
{
    g_autoptr(virDomain) domain = find(vmm, name, error);
    g_autofree char *xml = domain_xml_pci(address);

    if (domain == NULL)
        return FALSE;
    return has_pci(domain, address) || attach(vmm, name, xml, "a PCI device", error);
}
