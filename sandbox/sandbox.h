/* SPDX-License-Identifier: Apache-2.0 */
/* Pods and their containers: the verbs of the CRI's RuntimeService, with the CRI's own messages.
 *
 * A SandboxManager owns all pods of one state directory. Every function may be called from any thread and
 * blocks for as long as its work takes, at most until the deadline. Reads (status, list) never wait for work
 * under way. Responses are built in the caller's arena. An id is 64 hexadecimal digits; a unique prefix is
 * accepted.
 *
 * Errors are those that CRI clients expect: NOT_FOUND for an unknown id (but Stop and Remove of one
 * succeed), INVALID_ARGUMENT naming the field, FAILED_PRECONDITION for the wrong state, RESOURCE_EXHAUSTED,
 * UNAVAILABLE and INTERNAL with the cause.
 */
#pragma once

#include "api.pb-c.h"
#include "common/arena.h"
#include "common/deadline.h"
#include "common/settings/live_settings.h"
#include "image-service/image_service.h"
#include "sandbox/host/qemu_program.h"

typedef struct SandboxManager SandboxManager;

/* Opens the state, the hypervisor and the guests that still run, and reconciles pods that were left half
 * created or half removed. settings and images are borrowed and must outlive the manager. A pod keeps the
 * settings in force at its start, or at that of the daemon. */
SandboxManager *sandbox_manager_open(LiveSettings *settings, ImageService *images, GError **error);
/* Lets the VM pool follow settings that were replaced. */
void sandbox_manager_reload(SandboxManager *manager);
/* Leaves pods running. Takes NULL. */
void sandbox_manager_close(SandboxManager *manager);

/* For checks whether the daemon moves: run function(data) soon on the thread that serves agents, and on that
 * of libvirt's events. */
void sandbox_manager_ask_agents(SandboxManager *manager, void (*function)(gpointer data), gpointer data);
void sandbox_manager_ask_hypervisor(SandboxManager *manager, void (*function)(gpointer data), gpointer data);

/* The numbers of pods by state, and of running containers. */
typedef struct {
    guint starting;
    guint ready;
    guint hibernated; /* of those that are ready */
    guint stopping;
    guint stopped;
    guint containers_running;
} SandboxCounts;
void sandbox_manager_count(SandboxManager *manager, SandboxCounts *ret_counts);

/* What the VM of a pod costs this node. */
typedef struct {
    char *id;
    guint64 vm_memory_bytes; /* the size of the VM */
    guint64
        node_memory_bytes; /* what QEMU and the file server of its volumes have of it, and for themselves */
    guint64 node_cpu_ns;
    gboolean has_overhead;
    guint64
        overhead_bytes; /* of node_memory_bytes, what its containers did not use when they were last asked */
} PodCost;
/* Return: PodCost of each pod that has a VM; the array frees them. Asks no guest. */
GArray *sandbox_manager_costs(SandboxManager *manager);

/* Templates, and VMs of the pool that are ready for pods. */
typedef struct {
    guint templates_ready;
    guint templates_wanted; /* being created, or waiting for it */
    guint templates_quarantined;
    guint64 template_data_bytes;
    guint pool_ready;
    guint pool_size; /* as configured; 0: there is no pool */
} TemplateFigures;
void sandbox_manager_template_figures(SandboxManager *manager, TemplateFigures *ret_figures);

/* Return: what pods that no longer exist have left on the node, as paths and "interface NAME" (orphans.c).
 * It is removed, and logged, unless dry_run. The array frees the strings. */
GPtrArray *sandbox_collect_orphans(SandboxManager *manager, gboolean dry_run);

/* For Status, whose calls also let the VM pool see a change of the configuration. Return: NULL when the
 * network is ready; else the reason, which the caller frees. */
char *sandbox_manager_network_problem(SandboxManager *manager);
/* Return: the accelerator in use ("KVM", "emulation (TCG), because …"), borrowed. */
const char *sandbox_manager_accelerator(SandboxManager *manager, gboolean *ret_is_kvm);
/* Return: the QEMU of new pods, borrowed. */
const QemuProgram *sandbox_manager_qemu(SandboxManager *manager);
/* Return: templates and the VM pool as JSON, which the caller frees; NULL: the configuration has none. */
char *sandbox_manager_templates(SandboxManager *manager);

gboolean sandbox_run(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                     const Deadline *deadline, char **ret_id, GError **error);
gboolean sandbox_stop(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
gboolean sandbox_remove(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
/* Sets limits of a pod as a whole; its VM is resized. */
gboolean sandbox_update(SandboxManager *manager, const Runtime__V1__UpdatePodSandboxResourcesRequest *request,
                        const Deadline *deadline, GError **error);
gboolean sandbox_status(SandboxManager *manager, const Runtime__V1__PodSandboxStatusRequest *request,
                        Arena *arena, Runtime__V1__PodSandboxStatusResponse *ret_response, GError **error);
/* The kernel's log of the pod's guest, in the arena; it may not be UTF-8. *ret_is_console: the guest has
 * ended or does not answer, and the text is the end of its console. Errors: FAILED_PRECONDITION for a host
 * pod. */
gboolean sandbox_guest_log(SandboxManager *manager, const char *id, const Deadline *deadline, Arena *arena,
                           ProtobufCBinaryData *ret_text, gboolean *ret_is_console, GError **error);
gboolean sandbox_list(SandboxManager *manager, const Runtime__V1__ListPodSandboxRequest *request,
                      Arena *arena, Runtime__V1__ListPodSandboxResponse *ret_response, GError **error);

/* Saves a running pod into an empty directory (sandbox_checkpoint.c, checkpoint/checkpoint.h). The pod runs
 * on whatever comes of it; a failure leaves the directory empty. */
gboolean sandbox_checkpoint(SandboxManager *manager, const Runtime__V1__CheckpointPodRequest *request,
                            const Deadline *deadline, GError **error);
/* Saves the pod of a running container with that container alone, as an archive at an absolute path where
 * nothing is yet (sandbox_checkpoint_container.c, checkpoint/checkpoint_archive.h). A failure leaves no file.
 * Errors also: ALREADY_EXISTS. */
gboolean sandbox_checkpoint_container(SandboxManager *manager,
                                      const Runtime__V1__CheckpointContainerRequest *request,
                                      const Deadline *deadline, GError **error);
/* Makes a pod whose containers continue from a checkpoint once they are started (sandbox_restore.c). A
 * failure leaves no pod. */
gboolean sandbox_restore(SandboxManager *manager, const Runtime__V1__RestorePodRequest *request,
                         const Deadline *deadline, Arena *arena,
                         Runtime__V1__RestorePodResponse *ret_response, GError **error);

/* Gives the memory of a pod back to the node: its guest is saved to a file, and its VM ends. The pod stays
 * READY and its containers RUNNING; sandbox_wake(), or a call that needs the guest, lets them go on
 * (sandbox_hibernate.c). force: open stream sessions are ended with that reason. A pod that is hibernated, or
 * awake, already is success. A failure leaves it as it was. Errors: FAILED_PRECONDITION for a pod that cannot
 * be saved, and, without force, for open stream sessions. */
gboolean sandbox_hibernate(SandboxManager *manager, const char *id, gboolean force, const Deadline *deadline,
                           GError **error);
gboolean sandbox_wake(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
/* Return: the ids of the READY pods that are hibernated, in any order; the caller frees them. */
char **sandbox_hibernated_list(SandboxManager *manager);

gboolean container_create(SandboxManager *manager, const Runtime__V1__CreateContainerRequest *request,
                          const Deadline *deadline, char **ret_id, GError **error);
gboolean container_start(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
/* timeout_s: the grace period between the stop signal and KILL. */
gboolean container_stop(SandboxManager *manager, const char *id, gint64 timeout_s, const Deadline *deadline,
                        GError **error);
gboolean container_remove(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
gboolean container_status(SandboxManager *manager, const Runtime__V1__ContainerStatusRequest *request,
                          Arena *arena, Runtime__V1__ContainerStatusResponse *ret_response, GError **error);
gboolean container_list(SandboxManager *manager, const Runtime__V1__ListContainersRequest *request,
                        Arena *arena, Runtime__V1__ListContainersResponse *ret_response, GError **error);
/* Sets limits of a container that is created or runs. A field that is 0 in the request keeps its value. */
gboolean container_update(SandboxManager *manager,
                          const Runtime__V1__UpdateContainerResourcesRequest *request,
                          const Deadline *deadline, GError **error);
/* Stops the container, creates one with its configuration and the next attempt, starts it and removes the old
 * one: no runtime starts a container twice. The caller frees *ret_id, the new one's. */
gboolean container_restart(SandboxManager *manager, const char *id, gint64 timeout_s,
                           const Deadline *deadline, char **ret_id, GError **error);
/* Stops all processes of a running container without their notice, or lets them go on (container_pause.c).
 * The CRI has no such state: the container stays RUNNING, with the reason "Paused". */
gboolean container_pause(SandboxManager *manager, const char *id, gboolean paused, const Deadline *deadline,
                         GError **error);
gboolean container_reopen_log(SandboxManager *manager, const char *id, const Deadline *deadline,
                              GError **error);
/* What containers and pods use (observe/stats.c). All guests are asked at once and have a short time to
 * answer; a guest that does not answer is shown with its last figures. */
gboolean container_stats(SandboxManager *manager, const Runtime__V1__ContainerStatsRequest *request,
                         const Deadline *deadline, Arena *arena,
                         Runtime__V1__ContainerStatsResponse *ret_response, GError **error);
gboolean container_stats_list(SandboxManager *manager, const Runtime__V1__ContainerStatsFilter *filter,
                              const Deadline *deadline, Arena *arena,
                              Runtime__V1__ListContainerStatsResponse *ret_response, GError **error);
gboolean sandbox_stats(SandboxManager *manager, const Runtime__V1__PodSandboxStatsRequest *request,
                       const Deadline *deadline, Arena *arena,
                       Runtime__V1__PodSandboxStatsResponse *ret_response, GError **error);
gboolean sandbox_stats_list(SandboxManager *manager, const Runtime__V1__PodSandboxStatsFilter *filter,
                            const Deadline *deadline, Arena *arena,
                            Runtime__V1__ListPodSandboxStatsResponse *ret_response, GError **error);
/* The same figures as metrics with cAdvisor's names (observe/metrics.def). The list's pods are encoded
 * already: they are unknown fields of the response, each of which has whole pods, in memory of the arena. */
void sandbox_metric_descriptors(Arena *arena, Runtime__V1__ListMetricDescriptorsResponse *ret_response);
gboolean sandbox_metrics_list(SandboxManager *manager, const Deadline *deadline, Arena *arena,
                              Runtime__V1__ListPodSandboxMetricsResponse *ret_response, GError **error);

/* Subscribes to the events of pods and containers (pods/events.h). */
struct EventSubscriber *sandbox_events_subscribe(SandboxManager *manager);

gboolean container_exec_sync(SandboxManager *manager, const Runtime__V1__ExecSyncRequest *request,
                             const Deadline *deadline, Arena *arena,
                             Runtime__V1__ExecSyncResponse *ret_response, GError **error);
