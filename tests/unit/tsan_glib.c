/* SPDX-License-Identifier: Apache-2.0 */
/* Tells the thread sanitizer what GLib's mutexes, conditions, thread pools, main loops and once-blocks order.
 * GLib is not built with the sanitizer and implements them by futexes, so that without this every access that
 * they protect would be reported. The functions here stand before GLib's own in the programs of the preset
 * tsan, call these, and annotate them.
 */
#include <dlfcn.h>
#include <glib.h>
#include <sanitizer/tsan_interface.h>

#undef g_once_init_leave

/* Two threads may look up the same function at once, and find the same. */
static void *find(void **found, const char *name)
{
    void *function = __atomic_load_n(found, __ATOMIC_RELAXED);

    if (function == NULL) {
        function = dlsym(RTLD_NEXT, name);
        __atomic_store_n(found, function, __ATOMIC_RELAXED);
    }
    return function;
}

/* Declares `function`, GLib's own function of that name. */
#define GLIB(name)                                                                                           \
    static void *found;                                                                                      \
    __typeof__(name) *function = (__typeof__(name) *)find(&found, #name)

void g_mutex_lock(GMutex *mutex)
{
    GLIB(g_mutex_lock);

    __tsan_mutex_pre_lock(mutex, __tsan_mutex_linker_init);
    function(mutex);
    __tsan_mutex_post_lock(mutex, __tsan_mutex_linker_init, 0);
}

void g_mutex_unlock(GMutex *mutex)
{
    GLIB(g_mutex_unlock);

    __tsan_mutex_pre_unlock(mutex, __tsan_mutex_linker_init);
    function(mutex);
    __tsan_mutex_post_unlock(mutex, __tsan_mutex_linker_init);
}

gboolean g_mutex_trylock(GMutex *mutex)
{
    GLIB(g_mutex_trylock);
    gboolean locked;

    __tsan_mutex_pre_lock(mutex, __tsan_mutex_linker_init | __tsan_mutex_try_lock);
    locked = function(mutex);
    __tsan_mutex_post_lock(
        mutex,
        __tsan_mutex_linker_init | __tsan_mutex_try_lock | (locked ? 0U : __tsan_mutex_try_lock_failed), 0);
    return locked;
}

void g_mutex_clear(GMutex *mutex)
{
    GLIB(g_mutex_clear);

    __tsan_mutex_destroy(mutex, __tsan_mutex_linker_init);
    function(mutex);
}

static void wait_begins(GMutex *mutex)
{
    __tsan_mutex_pre_unlock(mutex, __tsan_mutex_linker_init);
    __tsan_mutex_post_unlock(mutex, __tsan_mutex_linker_init);
}

static void wait_ends(GMutex *mutex)
{
    __tsan_mutex_pre_lock(mutex, __tsan_mutex_linker_init);
    __tsan_mutex_post_lock(mutex, __tsan_mutex_linker_init, 0);
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    GLIB(g_cond_wait);

    wait_begins(mutex);
    function(cond, mutex);
    wait_ends(mutex);
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    GLIB(g_cond_wait_until);
    gboolean signalled;

    wait_begins(mutex);
    signalled = function(cond, mutex, end_time);
    wait_ends(mutex);
    return signalled;
}

/* ---- work that is handed from one thread to another ---- */

typedef struct {
    GFunc func;
    gpointer data;
} PoolWork;

static void pool_run(gpointer item, gpointer data)
{
    const PoolWork *work = data;

    __tsan_acquire(item);
    work->func(item, work->data);
}

/* The work of a pool is never freed: a pool may be freed while its threads end. */
GThreadPool *g_thread_pool_new(GFunc func, gpointer user_data, gint max_threads, gboolean exclusive,
                               GError **error)
{
    GLIB(g_thread_pool_new);
    PoolWork *work = g_new(PoolWork, 1);

    *work = (PoolWork){func, user_data};
    return function(pool_run, work, max_threads, exclusive, error);
}

gboolean g_thread_pool_push(GThreadPool *pool, gpointer item, GError **error)
{
    GLIB(g_thread_pool_push);

    __tsan_release(item);
    return function(pool, item, error);
}

/* What a thread attaches to the loop of another one has been written when that loop polls next. */
static char attached;

static gint poll_of_loop(GPollFD *fds, guint n_fds, gint timeout_ms)
{
    const gint result = g_poll(fds, n_fds, timeout_ms);

    __tsan_acquire(&attached);
    return result;
}

GMainContext *g_main_context_new(void)
{
    GLIB(g_main_context_new);
    GMainContext *context = function();

    g_main_context_set_poll_func(context, poll_of_loop);
    return context;
}

guint g_source_attach(GSource *source, GMainContext *context)
{
    GLIB(g_source_attach);

    __tsan_release(&attached);
    return function(source, context);
}

void(g_once_init_leave)(volatile void *location, gsize result)
{
    GLIB(g_once_init_leave);

    __tsan_release((void *)location);
    function(location, result);
}

/* What libraries that are not built with the sanitizer do with their memory is not reported, because their
 * locks are not seen: GLib's lists and queues, glibc's character sets and locales. */
const char *__tsan_default_options(void);

const char *__tsan_default_options(void) /* NOLINT: the sanitizer looks for this name */
{
    return "ignore_noninstrumented_modules=1";
}

/* Several threads may write the variable of G_DEFINE_QUARK, all the same value. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void) /* NOLINT: the sanitizer looks for this name */
{
    return "race:^crivirt_error_quark$\n";
}
