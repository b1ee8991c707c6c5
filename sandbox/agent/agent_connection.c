/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/agent_connection.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/ids.h"
#include "common/source.h"
#include "sandbox/agent/agent_connection_private.h"

enum {
    RECONNECT_MS = 50,
    RECONNECT_MAX_MS = 5000, /* to an agent that breaks the protocol each time */
    FORGIVEN_MS = 60 * 1000, /* an agent that keeps the protocol for so long is connected at once again */
    SYNC_RETRY_MS = 5000,    /* a guest that does not echo a sync within this time gets another one */
};

/* ---- connecting ---- */

static void connect_to_agent(AgentConnection *agent);

static gboolean on_reconnect_timer(gpointer data)
{
    AgentConnection *agent = data;

    source_drop(&agent->timer);
    connect_to_agent(agent);
    return G_SOURCE_REMOVE;
}

static gint64 retry_ms(const AgentConnection *agent)
{
    gboolean forgiven = g_get_monotonic_time() - agent->broken_us > FORGIVEN_MS * G_TIME_SPAN_MILLISECOND;

    return forgiven ? RECONNECT_MS : MAX(agent->retry_ms, RECONNECT_MS);
}

void agent_connection_drop(AgentConnection *agent, gboolean again)
{
    agent_reading_stop(agent);
    source_drop(&agent->writer);
    source_drop(&agent->timer);
    g_mutex_lock(&agent->lock);
    if (agent->fd >= 0)
        close(agent->fd);
    agent->fd = -1;
    agent->ready = FALSE;
    agent->writing = FALSE;
    agent->held = FALSE;
    agent->held_bytes = 0;
    agent->unread = FALSE;
    heartbeat_asked(&agent->heart, g_get_monotonic_time());
    byte_ring_clear(&agent->queue);
    agent_calls_fail_locked(agent);
    g_hash_table_remove_all(agent->given_up);
    again = again && !agent->closed && agent->abandoned == NULL;
    g_mutex_unlock(&agent->lock);
    wire_decoder_free(agent->decoder);
    agent->decoder = NULL;
    agent->synced = FALSE;
    agent->greeted = FALSE;
    if (again)
        agent->timer = loop_thread_add(agent->all->loop, g_timeout_source_new((guint)retry_ms(agent)),
                                       on_reconnect_timer, agent);
}

void agent_connection_drop_broken(AgentConnection *agent, const char *why)
{
    agent->retry_ms = MIN(2 * retry_ms(agent), RECONNECT_MAX_MS);
    agent->broken_us = g_get_monotonic_time();
    log_limited(&agent->log, LOG_LEVEL_WARNING, LOG_FIELDS("socket", agent->socket_path),
                "the connection to a guest's agent is made again in %" G_GINT64_FORMAT " ms: %s",
                agent->retry_ms, why);
    agent_connection_drop(agent, TRUE);
}

static gboolean on_sync_timeout(gpointer data)
{
    AgentConnection *agent = data;
    gboolean booting;

    g_mutex_lock(&agent->lock);
    booting = agent->fresh;
    g_mutex_unlock(&agent->lock);
    if (booting)
        return G_SOURCE_CONTINUE; /* the sync waits in the socket until the guest opens its port */
    source_drop(&agent->timer);
    agent_connection_drop(agent, TRUE);
    return G_SOURCE_REMOVE;
}

/* connect() of a Unix stream socket does not block. Run directories are short enough for sun_path. */
static int socket_connect(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path); /* NOLINT: the length has been checked */
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Runs on the loop's thread. */
static void connect_to_agent(AgentConnection *agent)
{
    int fd;

    g_mutex_lock(&agent->lock);
    if (agent->closed || agent->abandoned != NULL || agent->fd >= 0) {
        g_mutex_unlock(&agent->lock);
        return;
    }
    fd = socket_connect(agent->socket_path);
    if (fd >= 0) {
        agent->fd = fd;
        random_fill(&agent->nonce, sizeof agent->nonce);
        agent_sync_send_locked(agent);
    }
    g_mutex_unlock(&agent->lock);
    if (fd < 0) {
        agent->timer =
            loop_thread_add(agent->all->loop, g_timeout_source_new(RECONNECT_MS), on_reconnect_timer, agent);
        return;
    }
    agent->decoder = wire_decoder_new();
    agent_reading_start(agent);
    agent->timer =
        loop_thread_add(agent->all->loop, g_timeout_source_new(SYNC_RETRY_MS), on_sync_timeout, agent);
}

/* ---- the object ---- */

AgentConnection *agent_connection_ref(AgentConnection *agent)
{
    g_atomic_int_inc(&agent->references);
    return agent;
}

void agent_connection_unref(AgentConnection *agent)
{
    if (agent == NULL || !g_atomic_int_dec_and_test(&agent->references))
        return;
    g_hash_table_unref(agent->pending);
    g_hash_table_unref(agent->given_up);
    byte_ring_clear(&agent->queue);
    g_mutex_clear(&agent->lock);
    g_cond_clear(&agent->changed);
    g_free(agent->abandoned);
    g_free(agent->blocked);
    g_free(agent->silent);
    g_free(agent->socket_path);
    g_free(agent);
}

static void open_on_loop(gpointer data)
{
    AgentConnection *agent = data;

    g_ptr_array_add(agent->all->open, agent);
    connect_to_agent(agent);
    agent_connection_unref(agent);
}

AgentConnection *agent_connection_open(AgentConnections *connections, const char *socket_path, gboolean fresh,
                                       const AgentEvents *events, gpointer data)
{
    AgentConnection *agent = g_new0(AgentConnection, 1);

    agent->references = 1;
    agent->all = connections;
    agent->socket_path = g_strdup(socket_path);
    agent->fresh = fresh;
    agent->events = *events;
    agent->data = data;
    agent->fd = -1;
    agent->next_id = 1;
    heartbeat_asked(&agent->heart, g_get_monotonic_time());
    agent->pending = g_hash_table_new(g_int64_hash, g_int64_equal);
    agent->given_up = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    byte_ring_init(&agent->queue, AGENT_QUEUE_LIMIT_BYTES);
    g_mutex_init(&agent->lock);
    g_cond_init(&agent->changed);
    loop_thread_after(connections->loop, 0, open_on_loop, agent_connection_ref(agent));
    return agent;
}

static void close_on_loop(gpointer data)
{
    AgentConnection *agent = data;

    g_ptr_array_remove_fast(agent->all->open, agent);
    agent_connection_drop(agent, FALSE);
}

void agent_connection_close(AgentConnection *agent)
{
    g_mutex_lock(&agent->lock);
    agent->closed = TRUE;
    g_mutex_unlock(&agent->lock);
    loop_thread_call(agent->all->loop, close_on_loop, agent);
}

gboolean agent_connection_is_connected(AgentConnection *agent)
{
    struct pollfd other = {.events = POLLRDHUP};
    gboolean connected;

    g_mutex_lock(&agent->lock);
    other.fd = agent->fd;
    connected = other.fd >= 0 && poll(&other, 1, 0) == 0;
    g_mutex_unlock(&agent->lock);
    return connected;
}
