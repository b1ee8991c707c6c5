/* SPDX-License-Identifier: Apache-2.0 */
/* CNI networks by executing plugins (https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md).
 *
 * A CniNetwork is one loaded configuration list, immutable and reference-counted. Any thread may use it;
 * calls block for as long as the plugins take, at most until the deadline. Output of plugins is checked
 * before it is used. Errors name the network, the plugin and the command.
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

/* The attachment of a pod, as ADD, CHECK and DEL get it. Everything is borrowed for the call. */
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
    GPtrArray *routes; /* CniRoute, those on link first, each with its gateway: the routes of the interface in
                        * the netns, which are more than some plugins (Calico, ptp) print. A guest must
                        * replace its routes, because with ptp the pod's own subnet has a gateway */
    char **dns_servers; /* NULL: none, as below */
    char **dns_searches;
    char **dns_options;
} CniResult;
void cni_result_free(CniResult *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniResult, cni_result_free)

/* The first configuration by file name in config_dir that loads (*.conflist, *.conf, *.json), with plugins
 * looked up in plugin_dirs (NULL-terminated). When none loads: UNAVAILABLE with the directory or the file
 * and the problem, which becomes the message of the NetworkReady condition. */
CniNetwork *cni_network_load(const char *config_dir, const char *const *plugin_dirs, GError **error);
CniNetwork *cni_network_ref(CniNetwork *network);
void cni_network_unref(CniNetwork *network);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CniNetwork, cni_network_unref)
const char *cni_network_name(const CniNetwork *network);
/* Return: the whole configuration list as text, plugins from files of their own included, which the caller
 * frees. DEL needs it when the files have changed since ADD. */
char *cni_network_text(const CniNetwork *network);
/* The network of such a text; INVALID_ARGUMENT. */
CniNetwork *cni_network_from_text(const char *text, const char *const *plugin_dirs, GError **error);

/* cni_config_ignores_pods() */
gboolean cni_network_ignores_pods(const CniNetwork *network, const char *const *types);

/* Calls ADD of each plugin of the list. When one fails, DEL is called for it and for those before it, and the
 * error has its name and its message. */
gboolean cni_network_add(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                         CniResult **ret_result, GError **error);
/* Calls DEL in reverse order; goes on after a failure and reports the first one. */
gboolean cni_network_del(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                         GError **error);
/* Waits until the plugins that an earlier daemon had called for that attachment have ended, and what they
 * started, and kills them after some seconds: their changes would come after the DEL that undoes them. */
void cni_end_orphans(const char *container_id);
gboolean cni_network_check(CniNetwork *network, const CniAttachment *attachment, const Deadline *deadline,
                           GError **error);
/* STATUS (1.1): UNAVAILABLE with the plugin's message when the network cannot take an ADD now. Plugins of
 * older configurations count as ready. */
gboolean cni_network_status(CniNetwork *network, const Deadline *deadline, GError **error);
/* GC (1.1): container_ids with ifname are still in use. */
gboolean cni_network_gc(CniNetwork *network, const char *const *container_ids, const char *ifname,
                        const Deadline *deadline, GError **error);
