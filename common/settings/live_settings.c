/* SPDX-License-Identifier: Apache-2.0 */
#include "common/settings/live_settings.h"

struct LiveSettings {
    Settings *first;
    GMutex lock;
    Settings *current; /* protected by lock */
};

Settings *settings_ref(Settings *settings)
{
    if (settings->free != NULL)
        g_atomic_ref_count_inc(&settings->references);
    return settings;
}

void settings_unref(Settings *settings)
{
    if (settings != NULL && settings->free != NULL && g_atomic_ref_count_dec(&settings->references))
        settings->free(settings);
}

LiveSettings *live_settings_new(Settings *first)
{
    LiveSettings *live = g_new0(LiveSettings, 1);

    live->first = first;
    live->current = settings_ref(first);
    g_mutex_init(&live->lock);
    return live;
}

void live_settings_free(LiveSettings *live)
{
    if (live == NULL)
        return;
    settings_unref(live->current);
    settings_unref(live->first);
    g_mutex_clear(&live->lock);
    g_free(live);
}

Settings *live_settings_get(LiveSettings *live)
{
    G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&live->lock);

    return settings_ref(live->current);
}

const Settings *live_settings_first(const LiveSettings *live)
{
    return live->first;
}

void live_settings_replace(LiveSettings *live, Settings *next)
{
    Settings *old;

    g_mutex_lock(&live->lock);
    old = live->current;
    live->current = next;
    g_mutex_unlock(&live->lock);
    settings_unref(old);
}
