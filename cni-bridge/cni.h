/* SPDX-License-Identifier: Apache-2.0 */
/* CNI networks by executing plugins (https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md).
 *
 * A CniNetwork is one loaded configuration list: immutable, reference-counted, usable by any thread; the
 * calls block for as long as the plugins take, at most until the deadline. Plugin output is checked before it
 * is used.
 */
#pragma once

#include "common/deadline.h"

typedef struct CniNetwork CniNetwork;

typedef struct {
    char *protocol; /* "tcp", "udp", "sctp" */
    gint32 container_port;
    gint32 host_port;
    char *host_ip; /* NULL: all addresses */
} CniPortMapping;

/* What is to be attached: the runtime's side of ADD, CHECK and DEL. Borrowed for the call. */
typedef struct {
    const char *container_id;
    const char *netns_path;  /* "" for DEL when the namespace is gone */
    const char *ifname;      /* "eth0" */
    const char *const *args; /* CNI_ARGS as key, value, …, NULL ("K8S_POD_NAME", "web", …) */
    const CniPortMapping *port_mappings;
    gsize n_port_mappings;
    guint64 ingress_bits_per_s; /* 0: unlimited */
    guint64 egress_bits_per_s;
    const char *const *dns_servers; /* the dns capability; NULL: none */
    const char *const *dns_searches;
    const char *const *dns_options;
    const char *const *requested_ips; /* the ips capability, CIDR; NULL: the plugins choose */
    const char *requested_mac;        /* the mac capability; NULL: the plugins choose */
    const char *cached_result;        /* prevResult for CHECK and DEL, as CniResult.json; NULL: none */
} CniAttachment;

typedef struct {
    char *address; /* CIDR */
    char *gateway; /* NULL: none */
    gboolean ipv6;
} CniAddress;

typedef struct {
    char *destination; /* CIDR */
    char *gateway;     /* NULL: on link */
    guint32 mtu;
    guint32 metric;
} CniRoute;

typedef struct {
    char *json;           /* the result as the last plugin printed it, for the cache */
    char *mac;            /* of ifname inside the netns */
    guint32 mtu;          /* of ifname; read from the interface when the result has none */
    GPtrArray *addresses; /* CniAddress, of ifname, in the result's order */
    GPtrArray *routes;    /* CniRoute, those on link first; what the interface really has in the netns, which
                           * is more than some plugins (Calico, ptp) print; each with its gateway. A guest
                           * must replace routes: ptp's way to the pod's own subnet is a gateway */
    char **dns_servers;   /* NULL: none, as below */
    char **dns_searches;
    char **dns_options;
} CniResult;
void cni_result_free(CniResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniResult, cni_result_free)

/* The first configuration by file name in config_dir that loads (*.conflist, *.conf, *.json), with plugins
 * looked up in plugin_dirs (NULL-terminated). When none loads: UNAVAILABLE, naming the directory or the file
 * and what is wrong, in words fit for the NetworkReady condition. */
CniNetwork *cni_network_load(const char *config_dir, const char *const *plugin_dirs, GError **error);
CniNetwork *cni_network_ref(CniNetwork *network);
void cni_network_unref(CniNetwork *network);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniNetwork, cni_network_unref)
const char *cni_network_name(const CniNetwork *network);
/* The whole configuration list as text, plugins from files of their own included: what DEL must be called
 * with even when the files have changed since. The caller frees it. */
char *cni_network_text(const CniNetwork *network);
/* The network of such a text; INVALID_ARGUMENT. */
CniNetwork *cni_network_from_text(const char *text, const char *const *plugin_dirs, GError **error);

/* ADD through the whole list. When a plugin fails, those before it are undone with DEL and the error names
 * the plugin and gives its message. */
gboolean cni_network_add(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                         CniResult **ret_result, GError **error);
/* DEL in reverse order; goes on after a failure and reports the first one. */
gboolean cni_network_del(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                         GError **error);
/* Kills the plugins, and what they started, that a daemon which was killed had called for that attachment:
 * what they would still do comes too late for the DEL that undoes it. */
void cni_end_orphans(const char *container_id);
gboolean cni_network_check(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                           GError **error);
/* STATUS (1.1): UNAVAILABLE with the plugin's words when the network cannot take an ADD now. Plugins of older
 * configurations count as ready. */
gboolean cni_network_status(CniNetwork *network, const Deadline *deadline, GError **error);
/* GC (1.1): container_ids and ifname say what still is in use. */
gboolean cni_network_gc(CniNetwork *network, const char *const *container_ids, const char *ifname,
                        const Deadline *deadline, GError **error);
