/* Pods and their containers: what the CRI's RuntimeService does, in the CRI's own messages.
 *
 * A SandboxManager owns all pods of one state directory. Every function may be called from any thread and
 * blocks for as long as its work takes, at most until the deadline; reads (status, list) never wait for work
 * that is going on. Responses are built in the caller's arena. Ids are 64 hexadecimal digits; where an id is
 * asked for, a unique prefix will do.
 *
 * Errors are what the CRI's clients expect: NOT_FOUND for an unknown id (but Stop and Remove of one succeed),
 * INVALID_ARGUMENT naming the field, FAILED_PRECONDITION for the wrong state, RESOURCE_EXHAUSTED, UNAVAILABLE
 * and INTERNAL with the cause.
 */
#pragma once

#include "api.pb-c.h"
#include "common/arena.h"
#include "common/deadline.h"
#include "image-service/image_service.h"
#include "sandbox/pods/manager_config.h"

typedef struct SandboxManager SandboxManager;

/* Opens the state, the hypervisor and the guests that still run; reconciles what was left half done. The
 * configuration is copied; images is borrowed and must outlive the manager. */
SandboxManager *sandbox_manager_open(const SandboxManagerConfig *config, ImageService *images,
                                     GError **error);
/* Leaves pods running. Takes NULL. */
void sandbox_manager_close(SandboxManager *manager);

/* How many there are now. */
typedef struct {
    guint starting;
    guint ready;
    guint stopping;
    guint stopped;
    guint containers_running;
} SandboxCounts;
void sandbox_manager_count(SandboxManager *manager, SandboxCounts *ret_counts);

/* What is on the node for pods that are no more, paths and "interface NAME" (strays.c); removed, and logged,
 * unless dry_run. The array frees them. */
GPtrArray *sandbox_collect_orphans(SandboxManager *manager, gboolean dry_run);

/* For Status. NULL: ready; else the reason in a sentence, which the caller frees. */
char *sandbox_manager_network_problem(SandboxManager *manager);
/* One sentence on the accelerator in use ("KVM", "emulation (TCG), because …"); borrowed. */
const char *sandbox_manager_accelerator(SandboxManager *manager, gboolean *ret_is_kvm);
/* On templates and machines that wait, as JSON, which the caller frees; NULL: there are none by
 * configuration. */
char *sandbox_manager_templates(SandboxManager *manager);
/* Borrowed. */
const HandlerTable *sandbox_manager_handlers(SandboxManager *manager);

gboolean sandbox_run(SandboxManager *manager, const Runtime__V1__RunPodSandboxRequest *request,
                     const Deadline *deadline, char **ret_id, GError **error);
gboolean sandbox_stop(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
gboolean sandbox_remove(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
/* New limits for a pod as a whole: its machine grows and shrinks with them. */
gboolean sandbox_update(SandboxManager *manager, const Runtime__V1__UpdatePodSandboxResourcesRequest *request,
                        const Deadline *deadline, GError **error);
gboolean sandbox_status(SandboxManager *manager, const Runtime__V1__PodSandboxStatusRequest *request,
                        Arena *arena, Runtime__V1__PodSandboxStatusResponse *ret_response, GError **error);
gboolean sandbox_list(SandboxManager *manager, const Runtime__V1__ListPodSandboxRequest *request,
                      Arena *arena, Runtime__V1__ListPodSandboxResponse *ret_response, GError **error);

gboolean container_create(SandboxManager *manager, const Runtime__V1__CreateContainerRequest *request,
                          const Deadline *deadline, char **ret_id, GError **error);
gboolean container_start(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
/* timeout_s is the grace between the stop signal and KILL. */
gboolean container_stop(SandboxManager *manager, const char *id, gint64 timeout_s, const Deadline *deadline,
                        GError **error);
gboolean container_remove(SandboxManager *manager, const char *id, const Deadline *deadline, GError **error);
gboolean container_status(SandboxManager *manager, const Runtime__V1__ContainerStatusRequest *request,
                          Arena *arena, Runtime__V1__ContainerStatusResponse *ret_response, GError **error);
gboolean container_list(SandboxManager *manager, const Runtime__V1__ListContainersRequest *request,
                        Arena *arena, Runtime__V1__ListContainersResponse *ret_response, GError **error);
/* New limits for a container that is created or runs: what the request leaves at zero stays as it is. */
gboolean container_update(SandboxManager *manager,
                          const Runtime__V1__UpdateContainerResourcesRequest *request,
                          const Deadline *deadline, GError **error);
gboolean container_reopen_log(SandboxManager *manager, const char *id, const Deadline *deadline,
                              GError **error);
/* What containers and pods use (stats.c). The guests are asked, all at once, and get a short while to answer;
 * one that does not is shown as it was when it last did. */
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
/* The same as metrics with cAdvisor's names (metrics.def). */
void sandbox_metric_descriptors(Arena *arena, Runtime__V1__ListMetricDescriptorsResponse *ret_response);
gboolean sandbox_metrics_list(SandboxManager *manager, const Deadline *deadline, Arena *arena,
                              Runtime__V1__ListPodSandboxMetricsResponse *ret_response, GError **error);

/* What happens to pods and containers from now on (events.h). */
struct EventSubscriber *sandbox_events_subscribe(SandboxManager *manager);

gboolean container_exec_sync(SandboxManager *manager, const Runtime__V1__ExecSyncRequest *request,
                             const Deadline *deadline, Arena *arena,
                             Runtime__V1__ExecSyncResponse *ret_response, GError **error);
