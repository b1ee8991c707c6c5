/* SPDX-License-Identifier: Apache-2.0 */
/* The moment in which a guest is saved is made in two steps. The agent freezes the containers' processes, so
 * that none of them is in the middle of a system call and all of them can be held back in the guest that goes
 * on. Then the VM is paused, and memory, devices and writable disk are saved.
 */
#include "sandbox/sandbox_save.h"

#include <errno.h>
#include <unistd.h>

#include "agent/wire/wire.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/semaphore.h"
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/container/container_blocks.h"
#include "sandbox/pod/pod_share.h"
#include "sandbox/pods/container.h"
#include "sandbox/vmm/vmm_state.h"

enum {
    FREEZE_TIMEOUT_MS = 20 * 1000, /* the agent's own time, and a busy guest */
    HOLD_TIMEOUT_MS = 10 * 1000,   /* the guest decides how long it takes, while its containers are frozen */
    GO_ON_TIMEOUT_MS = 20 * 1000,
};

typedef struct {
    Pod *pod;
    AgentConnection *agent;
    int directory;
    SaveKind kind;
    const Deadline *deadline;
} Save;

/* ---- what can be saved ---- */

gboolean sandbox_save_check_container(const Container *container, GError **error)
{
    const Runtime__V1__ContainerConfig *config = container->config;

    if (config->n_cdi_devices > 0)
        return fail(error, STATUS_FAILED_PRECONDITION,
                    "container %s has devices of the node, whose state cannot be saved", container->id);
    for (guint i = 0; i < config->n_devices; i++)
        if (!container_device_is_block(container, config->devices[i]))
            return fail(error, STATUS_FAILED_PRECONDITION,
                        "container %s has the device %s of the node, whose state cannot be saved",
                        container->id, config->devices[i]->host_path);
    return TRUE;
}

/* ---- the jobs ---- */

#define N_JOBS 4

static void jobs_of(Pod *pod, Semaphore *jobs[N_JOBS])
{
    jobs[0] = &pod->job;
    jobs[1] = &pod->create_job;
    jobs[2] = &pod->vm_job;
    jobs[3] = &pod->disk_job;
}

gboolean sandbox_save_take_jobs(Pod *pod, const Deadline *deadline, GError **error)
{
    Semaphore *jobs[N_JOBS];
    guint held = 0;
    gboolean good = TRUE;

    jobs_of(pod, jobs);
    while (good && held < N_JOBS) {
        good = semaphore_acquire(jobs[held], deadline, "waiting for other work on the sandbox", error);
        held += good;
    }
    while (!good && held > 0)
        semaphore_release(jobs[--held]);
    return good;
}

void sandbox_save_release_jobs(Pod *pod)
{
    Semaphore *jobs[N_JOBS];

    jobs_of(pod, jobs);
    for (guint i = N_JOBS; i > 0; i--)
        semaphore_release(jobs[i - 1]);
}

/* Return: whether the guest is to run on. */
static gboolean goes_on(const Save *save, gboolean saved)
{
    return !saved || save->kind == SAVE_COPY;
}

/* ---- letting it go on ---- */

void sandbox_save_mark(Pod *pod, gboolean saving)
{
    g_mutex_lock(&pod->lock);
    pod->saving = saving;
    g_mutex_unlock(&pod->lock);
}

/* Has a deadline of its own, because the caller's may have passed. */
static void thaw(Pod *pod, AgentConnection *agent)
{
    const Crivirt__Agent__V1__ThawRequest request = CRIVIRT__AGENT__V1__THAW_REQUEST__INIT;
    Deadline deadline = deadline_in_ms(GO_ON_TIMEOUT_MS);
    g_autoptr(GError) problem = NULL;

    if (!agent_thaw(agent, &request, &deadline, NULL, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot thaw the containers of a guest that was saved: %s",
                  problem->message);
}

/* As thaw(): with a deadline of its own. */
static void unpark(Pod *pod, AgentConnection *agent)
{
    Deadline deadline = deadline_in_ms(GO_ON_TIMEOUT_MS);
    g_autoptr(GError) problem = NULL;

    if (!pod_share_unpark(pod, agent, &deadline, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "the volumes of a pod that was saved fail: %s",
                  problem->message);
}

static void run_on(Pod *pod)
{
    g_autoptr(GError) problem = NULL;

    if (!vmm_resume(pod->manager->vmm, pod->id, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot resume a guest that was saved: %s",
                  problem->message);
}

static void release(Pod *pod, AgentConnection *agent)
{
    agent_connection_release(agent);
    agent_connections_check_clocks(pod->manager->agents);
}

/* When the connection loses this Thaw, the next Hello reports that the containers are frozen. */
static void finish(Pod *pod, AgentConnection *agent)
{
    sandbox_save_mark(pod, FALSE);
    thaw(pod, agent);
}

void sandbox_save_go_on(Pod *pod)
{
    g_autoptr(AgentConnection) agent = pod_any_agent(pod);

    run_on(pod);
    release(pod, agent);
    unpark(pod, agent);
    finish(pod, agent);
}

void sandbox_save_set_clock(Pod *pod)
{
    g_autoptr(AgentConnection) agent = pod_any_agent(pod);
    Deadline deadline = deadline_in_ms(GO_ON_TIMEOUT_MS);
    g_autoptr(GError) problem = NULL;

    if (!agent_connection_set_clock(agent, &deadline, &problem))
        log_error(LOG_FIELDS("sandbox", pod->id), "cannot set the clock of a guest that was saved: %s",
                  problem->message);
}

void sandbox_save_thaw(Pod *pod)
{
    g_autoptr(AgentConnection) agent = pod_any_agent(pod);

    finish(pod, agent);
}

/* ---- saving ---- */

static gboolean freeze(const Save *save, gboolean keep_share, GError **error)
{
    Crivirt__Agent__V1__FreezeRequest request = CRIVIRT__AGENT__V1__FREEZE_REQUEST__INIT;
    Deadline bounded = deadline_sooner(save->deadline, FREEZE_TIMEOUT_MS);

    request.keep_share = keep_share;
    return agent_freeze(save->agent, &request, &bounded, NULL, error);
}

static gboolean disk_copy(const Save *save, GError **error)
{
    g_autofree char *upper = guest_disk_path(&save->pod->manager->guests, save->pod->id);
    g_autofree char *disk = checkpoint_disk_path(save->directory);

    return file_copy_sparse(upper, disk, 0600, save->deadline, error);
}

/* Before the guest goes on, because files that have filled a file system would make QEMU pause it at the next
 * write to its own disk. The caller removes them. */
static void files_empty(const Save *save, int ram, int devices)
{
    if (ftruncate(ram, 0) != 0 || ftruncate(devices, 0) != 0)
        log_error(LOG_FIELDS("sandbox", save->pod->id),
                  "cannot empty the files of a guest that was not saved: %s", g_strerror(errno));
}

static gboolean state_save(const Save *save, GError **error)
{
    int ram;
    int devices;
    gboolean saved;

    if (!checkpoint_make_files(save->directory, &ram, &devices, error))
        return FALSE;
    saved = vmm_state_save(save->pod->manager->vmm, save->pod->id, ram, devices, save->deadline, error) &&
            (save->kind != SAVE_COPY || disk_copy(save, error));
    if (!saved)
        files_empty(save, ram, devices);
    close(ram);
    close(devices);
    return saved;
}

static gboolean save_paused(const Save *save, GError **error)
{
    const gboolean saved =
        vmm_pause(save->pod->manager->vmm, save->pod->id, error) && state_save(save, error);

    if (goes_on(save, saved))
        run_on(save->pod);
    return saved;
}

static gboolean save_held(const Save *save, GError **error)
{
    Deadline bounded = deadline_sooner(save->deadline, HOLD_TIMEOUT_MS);
    gboolean saved;

    if (!agent_connection_hold(save->agent, &bounded, error))
        return FALSE;
    saved = save_paused(save, error);
    if (goes_on(save, saved))
        release(save->pod, save->agent);
    return saved;
}

/* QEMU cannot save a guest that has the device of a share. */
static gboolean save_without_share(const Save *save, GError **error)
{
    int volumes = checkpoint_make_volumes(save->directory, error);
    gboolean saved;

    if (volumes < 0)
        return FALSE;
    saved = pod_share_park(save->pod, volumes, save->deadline, error) && save_held(save, error);
    close(volumes);
    if (goes_on(save, saved))
        unpark(save->pod, save->agent);
    return saved;
}

static gboolean save_frozen(const Save *save, GError **error)
{
    const gboolean shares = save->pod->share_attached != 0;
    gboolean saved;

    if (!agent_connection_check_protocol(save->agent, shares ? WIRE_PROTOCOL_PARK : WIRE_PROTOCOL_SAVE,
                                         save->kind == SAVE_COPY ? "a checkpoint" : "hibernation", error))
        return FALSE;
    sandbox_save_mark(save->pod, TRUE);
    saved =
        freeze(save, shares, error) && (shares ? save_without_share(save, error) : save_held(save, error));
    if (goes_on(save, saved))
        finish(save->pod, save->agent);
    return saved;
}

gboolean sandbox_save(Pod *pod, int directory, SaveKind kind, const Deadline *deadline, gint64 *ret_pause_us,
                      GError **error)
{
    g_autoptr(AgentConnection) agent = pod_agent(pod, error);
    const Save save = {pod, agent, directory, kind, deadline};
    const gint64 begin_us = g_get_monotonic_time();
    gboolean saved;

    if (agent == NULL)
        return FALSE;
    saved = save_frozen(&save, error);
    *ret_pause_us = g_get_monotonic_time() - begin_us;
    return saved;
}

/* ---- after a restart of the daemon ---- */

void sandbox_save_resume(SandboxManager *manager, const char *id, const GPtrArray *domains)
{
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < domains->len; i++) {
        VmmDomain *domain = domains->pdata[i];

        if (!g_str_equal(domain->name, id) || domain->running)
            continue;
        domain->running = vmm_resume(manager->vmm, id, &error);
        if (!domain->running)
            log_error(LOG_FIELDS("sandbox", id), "cannot resume a guest that was being saved: %s",
                      error->message);
    }
}
