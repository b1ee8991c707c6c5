/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/pod_watch.h"

#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "cni-bridge/wake_socket.h"
#include "common/error.h"
#include "common/log.h"
#include "sandbox/pod/pod_network.h"
#include "sandbox/pods/manager.h"
#include "sandbox/pods/pod_rest.h"

enum {
    REST_MS = 30 * 1000, /* after a wake has begun: the pod is awake by then, or could not wake */
    CHANGE_MS = 200,     /* between looks at a change that is under way */
};

typedef struct {
    GSource source;
    Pod *pod;       /* referenced */
    int fd;         /* owned */
    gpointer tag;   /* of fd in the source */
    gboolean asked; /* the pod was to wake; for the loop's thread */
} WatchSource;

/* ---- on the loop's thread ---- */

static void listen_to(WatchSource *watch)
{
    g_source_set_ready_time(&watch->source, -1);
    g_source_modify_unix_fd(&watch->source, watch->tag, G_IO_IN);
}

static void rest_for(WatchSource *watch, gint64 ms)
{
    g_source_modify_unix_fd(&watch->source, watch->tag, 0);
    g_source_set_ready_time(&watch->source, g_get_monotonic_time() + ms * G_TIME_SPAN_MILLISECOND);
}

/* What the pod was to wake for is too old by now: who still waits sends it again. */
static void rest_ends(WatchSource *watch)
{
    if (watch->asked)
        wake_socket_drain(watch->fd);
    watch->asked = FALSE;
    listen_to(watch);
}

static gboolean watch_dispatch(GSource *source, GSourceFunc function, gpointer data)
{
    WatchSource *watch = (WatchSource *)source;
    const GIOCondition condition = g_source_query_unix_fd(source, watch->tag);

    (void)function, (void)data;
    if ((condition & ~G_IO_IN) != 0) {
        wake_socket_drain(watch->fd); /* takes the error: the interface was set down */
    } else if (pod_rest_changes(watch->pod)) {
        rest_for(watch, CHANGE_MS);
    } else if (condition == 0) {
        rest_ends(watch);
    } else {
        watch->asked = pod_rest_wake(watch->pod);
        rest_for(watch, watch->asked ? REST_MS : CHANGE_MS);
    }
    return G_SOURCE_CONTINUE;
}

/* ---- on any ---- */

static void watch_finalize(GSource *source)
{
    WatchSource *watch = (WatchSource *)source;

    close(watch->fd);
    pod_unref(watch->pod);
}

static void watch_add(Pod *pod, int fd, gboolean rests)
{
    static GSourceFuncs functions = {.dispatch = watch_dispatch, .finalize = watch_finalize};
    GSource *source = g_source_new(&functions, sizeof(WatchSource));
    WatchSource *watch = (WatchSource *)source;

    watch->pod = pod_ref(pod);
    watch->fd = fd;
    watch->tag = g_source_add_unix_fd(source, fd, G_IO_IN);
    watch->asked = rests;
    if (rests)
        rest_for(watch, REST_MS);
    g_mutex_lock(&pod->lock);
    pod->watch = source;
    g_mutex_unlock(&pod->lock);
    loop_thread_add(pod->manager->loop, source, NULL, NULL);
}

/* A change of the option holds from the next time on. */
static gboolean is_enabled(const Pod *pod)
{
    g_autoptr(Settings) settings = live_settings_get(pod->manager->live);
    const Handler *handler = handler_find(settings->handlers, pod->handler, NULL);

    return handler != NULL ? handler->wake_on_traffic : settings->guest.wake_on_traffic;
}

static gboolean begin(Pod *pod, gboolean rests, GError **error)
{
    g_autoptr(GPtrArray) addresses = pod_network_addresses(pod);
    int fd;

    if (!redirect_suspend(pod->netns_path, GUEST_INTERFACE, error))
        return FALSE;
    if (!is_enabled(pod))
        return TRUE;
    fd = wake_socket_open(pod->netns_path, GUEST_INTERFACE, addresses, error);
    if (fd >= 0)
        watch_add(pod, fd, rests);
    return fd >= 0;
}

void pod_watch_begin(Pod *pod, gboolean rests)
{
    g_autoptr(GError) error = NULL;

    pod_watch_end(pod);
    if (!begin(pod, rests, &error))
        log_warning(LOG_FIELDS("sandbox", pod->id),
                    "nothing answers for the addresses of a hibernated pod, and no traffic wakes it: %s",
                    error->message);
}

/* Return: referenced; NULL: none. */
static GSource *watch_get(Pod *pod)
{
    GSource *source;

    g_mutex_lock(&pod->lock);
    source = pod->watch != NULL ? g_source_ref(pod->watch) : NULL;
    g_mutex_unlock(&pod->lock);
    return source;
}

gboolean pod_watch_hand_over(Pod *pod, GError **error)
{
    g_autoptr(GSource) source = watch_get(pod);
    WatchSource *watch = (WatchSource *)source;

    if (watch != NULL && !wake_socket_pause(watch->fd, error))
        return FALSE;
    return pod_network_redirect(pod, error);
}

/* The guest's own kernel, or the sender, does without a packet that is lost here. */
void pod_watch_pass_on(Pod *pod)
{
    g_autoptr(GSource) source = watch_get(pod);
    WatchSource *watch = (WatchSource *)source;
    g_autoptr(GError) error = NULL;
    guint n;

    if (watch == NULL)
        return;
    n = wake_socket_pass_on(watch->fd, pod->netns_path, pod->tap, &error);
    if (error != NULL)
        log_warning(LOG_FIELDS("sandbox", pod->id), "the packets that woke the pod are lost: %s",
                    error->message);
    else if (n > 0)
        log_debug(LOG_FIELDS("sandbox", pod->id), "%u packets have waited for the pod", n);
}

void pod_watch_end(Pod *pod)
{
    GSource *source;

    g_mutex_lock(&pod->lock);
    source = g_steal_pointer(&pod->watch);
    g_mutex_unlock(&pod->lock);
    if (source == NULL)
        return;
    g_source_destroy(source);
    g_source_unref(source);
}
