/* SPDX-License-Identifier: Apache-2.0 */
/* What an interface in a pod's namespace really has, after the plugins are done with it. */
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

/* NOT_FOUND when the namespace or the interface is not there. */
gboolean link_state_read(const char *netns_path, const char *ifname, LinkState *ret_state, GError **error);
