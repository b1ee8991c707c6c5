/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/unit/test_manager.h"

#include "common/ids.h"
#include "sandbox/observe/sampler.h"
#include "sandbox/pod/vm_pod.h"
#include "sandbox/pods/container.h"
#include "sandbox/pods/container_io.h"
#include "sandbox/pods/pod_table.h"

enum { MIB = 1024 * 1024 };

SandboxManager *test_manager_new(void)
{
    static Settings settings = {
        .server = {.run_dir = "/run/test", .state_dir = "/var/test", .pod_workers = 8, .exec_workers = 5}};
    SandboxManager *manager = g_new0(SandboxManager, 1);

    manager->settings = &settings;
    manager->live = live_settings_new(&settings);
    manager->guests.run_dir = manager->settings->server.run_dir;
    manager->guests.state_dir = manager->settings->server.state_dir;
    manager->loop = loop_thread_new("agents");
    manager->agents = agent_connections_new(manager->loop, 0);
    manager->log_workers = g_thread_pool_new(container_io_work, NULL, 1, FALSE, NULL);
    manager_tables_init(manager);
    manager->events = event_hub_new();
    manager->sampler = sampler_new();
    g_mutex_init(&manager->lock);
    return manager;
}

void test_manager_free(SandboxManager *manager)
{
    g_autoptr(GPtrArray) containers = manager_containers_by_id(manager, "", "");

    sampler_free(manager->sampler);
    for (guint i = 0; i < containers->len; i++) {
        container_io_close(((Container *)containers->pdata[i])->io);
        manager_remove_container(manager, containers->pdata[i]);
    }
    g_ptr_array_set_size(containers, 0);
    manager_tables_clear(manager);
    event_hub_free(manager->events);
    g_thread_pool_free(manager->log_workers, FALSE, TRUE);
    loop_thread_free(manager->loop);
    agent_connections_free(manager->agents);
    g_mutex_clear(&manager->lock);
    live_settings_free(manager->live);
    g_free(manager);
}

static Runtime__V1__PodSandboxConfig *pod_config(const char *name)
{
    Runtime__V1__PodSandboxConfig config = RUNTIME__V1__POD_SANDBOX_CONFIG__INIT;
    Runtime__V1__PodSandboxMetadata metadata = RUNTIME__V1__POD_SANDBOX_METADATA__INIT;
    Runtime__V1__PodSandboxConfig__LabelsEntry label = RUNTIME__V1__POD_SANDBOX_CONFIG__LABELS_ENTRY__INIT;
    Runtime__V1__PodSandboxConfig__LabelsEntry *labels[] = {&label};
    g_autofree guint8 *data = NULL;
    gsize length;

    metadata.name = (char *)name;
    metadata.namespace_ = (char *)"default";
    metadata.uid = (char *)name;
    label.key = (char *)"app";
    label.value = (char *)name;
    config.metadata = &metadata;
    config.n_labels = 1;
    config.labels = labels;
    length = runtime__v1__pod_sandbox_config__get_packed_size(&config);
    data = g_malloc(length);
    runtime__v1__pod_sandbox_config__pack(&config, data);
    return runtime__v1__pod_sandbox_config__unpack(NULL, length, data);
}

static Runtime__V1__ContainerConfig *container_config(void)
{
    Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
    Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
    Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
    g_autofree guint8 *data = NULL;
    gsize length;

    metadata.name = (char *)"ctr";
    image.image = (char *)"docker.io/library/busybox:latest";
    config.metadata = &metadata;
    config.image = &image;
    length = runtime__v1__container_config__get_packed_size(&config);
    data = g_malloc(length);
    runtime__v1__container_config__pack(&config, data);
    return runtime__v1__container_config__unpack(NULL, length, data);
}

Pod *test_manager_add_pod(SandboxManager *manager, guint number, PodState state,
                          ContainerState container_state)
{
    g_autofree char *name = g_strdup_printf("pod-%u", number);
    g_autofree char *pod_id = g_strdup_printf("%064x", number);
    g_autofree char *container_id = g_strdup_printf("c%063x", number);
    char *no_layers[] = {NULL};
    Pod *pod = pod_new(manager, (Settings *)manager->settings, pod_id, pod_config(name), HANDLER_DEFAULT,
                       HANDLER_VM, &vm_pod_platform, number);
    g_autoptr(Container) container = NULL;

    pod->state = POD_READY; /* or no container could be added */
    manager_add_pod(manager, pod);
    container = container_new(pod, container_id, NULL, container_config(), "sha256:1", no_layers, number);
    container->state = container_state;
    manager_add_container(manager, container, NULL);
    pod->state = state;
    pod_unref(pod);
    return pod;
}

Container *test_pod_container(Pod *pod)
{
    g_autoptr(GPtrArray) containers = pod_containers(pod);

    return containers->pdata[0];
}

void test_pod_add_sample(Pod *pod, gint64 at_us, guint64 cpu_us)
{
    Crivirt__Agent__V1__StatsResponse stats = CRIVIRT__AGENT__V1__STATS_RESPONSE__INIT;
    Crivirt__Agent__V1__ContainerUsage usage = CRIVIRT__AGENT__V1__CONTAINER_USAGE__INIT;
    Crivirt__Agent__V1__CgroupUsage cgroup = CRIVIRT__AGENT__V1__CGROUP_USAGE__INIT;
    Crivirt__Agent__V1__DiskUsage disk = CRIVIRT__AGENT__V1__DISK_USAGE__INIT;
    Crivirt__Agent__V1__InterfaceUsage eth0 = CRIVIRT__AGENT__V1__INTERFACE_USAGE__INIT;
    Crivirt__Agent__V1__ContainerUsage *containers[] = {&usage};
    Crivirt__Agent__V1__InterfaceUsage *interfaces[] = {&eth0};
    Sample *sample = g_new0(Sample, 1);
    g_autofree guint8 *data = NULL;
    gsize length;

    cgroup.cpu_usage_us = cpu_us;
    cgroup.memory_current_bytes = 10 * MIB;
    cgroup.memory_inactive_file_bytes = 3 * MIB;
    cgroup.memory_anon_bytes = 5 * MIB;
    cgroup.memory_max_bytes = 64 * MIB;
    cgroup.processes = 2;
    disk.bytes = 4096;
    disk.inodes = 3;
    disk.age_ms = 1000;
    usage.id = test_pod_container(pod)->id;
    usage.cgroup = &cgroup;
    usage.writable = &disk;
    eth0.name = (char *)"eth0";
    eth0.rx_bytes = 77;
    stats.pod = &cgroup;
    stats.containers = containers;
    stats.n_containers = 1;
    stats.interfaces = interfaces;
    stats.n_interfaces = 1;
    length = crivirt__agent__v1__stats_response__get_packed_size(&stats);
    data = g_malloc(length);
    crivirt__agent__v1__stats_response__pack(&stats, data);
    sample->references = 1;
    sample->at_us = at_us;
    sample->at_ns = time_now_ns();
    sample->stats = crivirt__agent__v1__stats_response__unpack(NULL, length, data);
    sample->with_processes = TRUE;
    sample->has_node_cost = TRUE;
    sample->node_cpu_ns = cpu_us * 2000;
    sample->node_memory_bytes = 100 * MIB;
    g_mutex_lock(&pod->lock);
    pod_samples_put_locked(&pod->samples, sample);
    g_mutex_unlock(&pod->lock);
}
