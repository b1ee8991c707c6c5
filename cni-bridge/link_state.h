/* SPDX-License-Identifier: Apache-2.0 */
/* The state of an interface in a pod's namespace after the plugins have run. */
#pragma once

#include <glib.h>

typedef struct {
    char *mac;
    guint32 mtu;
    GPtrArray
        *routes; /* CniRoute of the main table, those on link first; not those that come with addresses */
} LinkState;

void link_state_clear(LinkState *state);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LinkState, link_state_clear)

/* NOT_FOUND when there is no such namespace or interface. Any thread. */
gboolean link_state_read(const char *netns_path, const char *ifname, LinkState *ret_state, GError **error);
