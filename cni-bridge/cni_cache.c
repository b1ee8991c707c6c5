/* SPDX-License-Identifier: Apache-2.0 */
#include "cni-bridge/cni_cache.h"

#include <stdint.h>
#include <sys/stat.h>

enum {
    DEPTH_MAX = 2, /* files, and those of CONFIG_DIR/NETWORK */
    /* A file may change again within one tick of its times, which is a second at most: a younger file may
     * have changed without a change of its stamp. */
    SETTLED_MS = 1100,
};

struct CniCache {
    char *config_dir;
    char **plugin_dirs;
    GMutex lock;         /* of both below */
    CniNetwork *network; /* NULL: none is kept */
    char *stamp;         /* of what network was loaded from */
};

CniCache *cni_cache_new(const char *config_dir, const char *const *plugin_dirs)
{
    CniCache *cache = g_new0(CniCache, 1);

    cache->config_dir = g_strdup(config_dir);
    cache->plugin_dirs = g_strdupv((char **)(void *)plugin_dirs);
    g_mutex_init(&cache->lock);
    return cache;
}

void cni_cache_free(CniCache *cache)
{
    if (cache == NULL)
        return;
    cni_network_unref(cache->network);
    g_free(cache->stamp);
    g_free(cache->config_dir);
    g_strfreev(cache->plugin_dirs);
    g_mutex_clear(&cache->lock);
    g_free(cache);
}

static gint64 time_ms(const struct timespec *time)
{
    return (gint64)time->tv_sec * 1000 + time->tv_nsec / 1000000;
}

/* Appends a line that differs between versions of path and of its content; *newest_ms becomes the time of the
 * latest change. */
static void stamp_append(GString *stamp, const char *path, guint depth, gint64 *newest_ms)
{
    g_autoptr(GDir) directory = NULL;
    struct stat status;
    const char *name;

    if (stat(path, &status) != 0)
        return;
    g_string_append_printf(stamp, "%s %ju:%ju %jd %jd.%09ld %jd.%09ld\n", path, (uintmax_t)status.st_dev,
                           (uintmax_t)status.st_ino, (intmax_t)status.st_size,
                           (intmax_t)status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                           (intmax_t)status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
    *newest_ms = MAX(*newest_ms, MAX(time_ms(&status.st_mtim), time_ms(&status.st_ctim)));
    directory = depth < DEPTH_MAX && S_ISDIR(status.st_mode) ? g_dir_open(path, 0, NULL) : NULL;
    while (directory != NULL && (name = g_dir_read_name(directory)) != NULL) {
        g_autofree char *child = g_build_filename(path, name, NULL);

        stamp_append(stamp, child, depth + 1, newest_ms);
    }
}

/* Return: NULL when a file changed just now, so that it may change again under the same stamp. */
static char *stamp_take(const char *config_dir)
{
    GString *stamp = g_string_new(NULL);
    gint64 newest_ms = 0;
    gboolean settled;

    stamp_append(stamp, config_dir, 0, &newest_ms);
    settled = newest_ms + SETTLED_MS < g_get_real_time() / 1000;
    return g_string_free(stamp, !settled);
}

CniNetwork *cni_cache_get(CniCache *cache, GError **error)
{
    g_autofree char *stamp = stamp_take(cache->config_dir);
    CniNetwork *network = NULL;

    g_mutex_lock(&cache->lock);
    if (stamp != NULL && g_strcmp0(stamp, cache->stamp) == 0)
        network = cni_network_ref(cache->network);
    g_mutex_unlock(&cache->lock);
    if (network != NULL)
        return network;
    network = cni_network_load(cache->config_dir, (const char *const *)cache->plugin_dirs, error);
    if (network == NULL || stamp == NULL)
        return network;
    g_mutex_lock(&cache->lock);
    g_clear_pointer(&cache->network, cni_network_unref);
    g_free(cache->stamp);
    cache->network = cni_network_ref(network);
    cache->stamp = g_steal_pointer(&stamp);
    g_mutex_unlock(&cache->lock);
    return network;
}
