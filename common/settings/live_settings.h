/* SPDX-License-Identifier: Apache-2.0 */
/* The settings that are in force, which a reload of the configuration replaces as a whole.
 *
 * Settings never change: a reader takes a reference to those in force, uses that for all of its work, and
 * gives it up. So each call sees one configuration, and a pod keeps the one that it was started with. Options
 * whose row in options.def has RESTART have the value of the daemon's start in all of them.
 *
 * Ownership: live_settings_new() and live_settings_replace() take the caller's reference.
 * Threads: any.
 */
#pragma once

#include "common/settings/settings.h"

typedef struct LiveSettings LiveSettings;

LiveSettings *live_settings_new(Settings *first);
/* Takes NULL. Settings that readers still hold stay valid. */
void live_settings_free(LiveSettings *live);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(LiveSettings, live_settings_free)

/* Return: the settings in force, referenced. */
Settings *live_settings_get(LiveSettings *live);
/* Return: those with which the daemon started, borrowed; for options with RESTART. */
const Settings *live_settings_first(const LiveSettings *live);
void live_settings_replace(LiveSettings *live, Settings *next);
