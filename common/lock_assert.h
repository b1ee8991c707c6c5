/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of the rule that the caller of a "…_locked" function holds the mutex. Such a function begins with
 * LOCK_ASSERT_HELD(&thing->mutex).
 *
 * Builds that define CRIVIRT_LOCK_CHECKS (the presets dev, asan and tsan) abort with the place when nobody
 * holds the mutex; in others the macro is nothing. A mutex that another thread holds passes, because a GMutex
 * has no record of its owner. GLib leaves g_mutex_trylock() by the owner undefined; on Linux it fails, which
 * this relies on. */
#pragma once

#include <glib.h>

#ifdef CRIVIRT_LOCK_CHECKS
static inline void lock_assert_held(GMutex *mutex, const char *name, const char *function)
{
    if (g_mutex_trylock(mutex))
        g_error("%s() was called without holding %s", function, name);
}
#define LOCK_ASSERT_HELD(mutex) lock_assert_held((mutex), #mutex, __func__)
#else
#define LOCK_ASSERT_HELD(mutex) ((void)(mutex))
#endif
