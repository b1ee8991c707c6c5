/* SPDX-License-Identifier: Apache-2.0 */
#include "cri-server/health_parts.h"

/* ---- event loops ---- */

static void ask_queue(gpointer server, HealthPart *part)
{
    rpc_server_ask_queue(server, health_beat, part);
}

static void ask_agents(gpointer sandboxes, HealthPart *part)
{
    sandbox_manager_ask_agents(sandboxes, health_beat, part);
}

static void ask_hypervisor(gpointer sandboxes, HealthPart *part)
{
    sandbox_manager_ask_hypervisor(sandboxes, health_beat, part);
}

static void ask_streams(gpointer streams, HealthPart *part)
{
    stream_server_ask(streams, health_beat, part);
}

/* ---- worker pools ---- */

typedef struct {
    const Daemon *daemon;
    RpcServer *server;
    RpcPool pool;
    HealthPart *part;
} PoolPart;

/* Lists and the status of everything need these locks, and so do most changes: one that is never given up
 * shows here. */
static void answer_from_memory(gpointer data)
{
    PoolPart *pool = data;
    SandboxCounts counts;

    g_ptr_array_unref(image_service_list(pool->daemon->images));
    sandbox_manager_count(pool->daemon->sandboxes, &counts);
    health_beat(pool->part);
}

static void ask_pool(gpointer data, HealthPart *part)
{
    PoolPart *pool = data;

    pool->part = part;
    if (pool->pool == RPC_POOL_FAST)
        rpc_server_ask_pool(pool->server, pool->pool, answer_from_memory, pool);
    else
        rpc_server_ask_pool(pool->server, pool->pool, health_beat, part);
}

void health_add_parts(Health *health, const Daemon *daemon, RpcServer *server)
{
    health_add(health, "rpc-queue", ask_queue, server, NULL);
    health_add(health, "agents", ask_agents, daemon->sandboxes, NULL);
    health_add(health, "libvirt-events", ask_hypervisor, daemon->sandboxes, NULL);
    health_add(health, "streams", ask_streams, daemon->streams, NULL);
    for (guint i = 0; i < RPC_N_POOLS; i++) {
        PoolPart *pool = g_new0(PoolPart, 1);

        *pool = (PoolPart){daemon, server, (RpcPool)i, NULL};
        health_add(health, rpc_pool_name((RpcPool)i), ask_pool, pool, g_free);
    }
}
