/* SPDX-License-Identifier: Apache-2.0 */

#include "sandbox/pod/pod_network.h"

#include <string.h>
#include <unistd.h>

#include "cni-bridge/podnet.h"
#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "sandbox/pods/manager.h"
#include "sandbox/pods/pod_table.h"
#include "sandbox/templates/vm_pool.h"

enum { MAX_RESOLV_CONF_BYTES = 64 << 10, MAX_HOSTS_BYTES = 1 << 20, COLLECT_TIMEOUT_MS = 10 * 1000 };

#define INGRESS_BANDWIDTH "kubernetes.io/ingress-bandwidth"
#define EGRESS_BANDWIDTH "kubernetes.io/egress-bandwidth"

static const char *annotation(const Runtime__V1__PodSandboxConfig *config, const char *key)
{
    for (size_t i = 0; i < config->n_annotations; i++)
        if (g_str_equal(config->annotations[i]->key, key))
            return config->annotations[i]->value;
    return NULL;
}

gboolean pod_network_is_ordinary(const Runtime__V1__PodSandboxConfig *config)
{
    for (size_t i = 0; i < config->n_port_mappings; i++)
        if (config->port_mappings[i]->host_port > 0)
            return FALSE;
    return annotation(config, INGRESS_BANDWIDTH) == NULL && annotation(config, EGRESS_BANDWIDTH) == NULL;
}

/* Parses a Kubernetes quantity of bits per second: "10M", "1Gi", "500k". An absent one is 0, no limit. */
static gboolean bandwidth_parse(const Pod *pod, const char *key, guint64 *ret_bits_per_s, GError **error)
{
    static const struct {
        const char *suffix;
        guint64 factor;
    } units[] = {{"", 1},           {"k", 1000},          {"M", 1000000},
                 {"G", 1000000000}, {"T", 1000000000000}, {"Ki", 1 << 10},
                 {"Mi", 1 << 20},   {"Gi", 1 << 30},      {"Ti", G_GUINT64_CONSTANT(1) << 40}};
    const char *text = annotation(pod->config, key);
    char *end = NULL;
    guint64 number;

    *ret_bits_per_s = 0;
    if (text == NULL)
        return TRUE;
    number = g_ascii_isdigit(*text) ? g_ascii_strtoull(text, &end, 10) : 0;
    for (gsize i = 0; end != NULL && i < G_N_ELEMENTS(units); i++)
        if (g_str_equal(end, units[i].suffix) && number > 0 && number <= G_MAXUINT64 / units[i].factor) {
            *ret_bits_per_s = number * units[i].factor;
            return TRUE;
        }
    return fail(error, STATUS_INVALID_ARGUMENT, "annotation %s: \"%s\" is not a number of bits per second",
                key, text);
}

/* A mapping without a host port only documents the container's port. */
static GArray *port_mappings(const Pod *pod)
{
    static const char *const protocols[] = {"tcp", "udp", "sctp"};
    GArray *mappings = g_array_new(FALSE, FALSE, sizeof(CniPortMapping));

    for (size_t i = 0; i < pod->config->n_port_mappings; i++) {
        const Runtime__V1__PortMapping *from = pod->config->port_mappings[i];
        CniPortMapping mapping = {
            .protocol = (char *)protocols[(guint)from->protocol < 3 ? from->protocol : 0],
            .container_port = from->container_port,
            .host_port = from->host_port,
            .host_ip = *from->host_ip != '\0' ? from->host_ip : NULL,
        };

        if (from->host_port > 0)
            g_array_append_val(mappings, mapping);
    }
    return mappings;
}

static const char *const *borrowed_strv(GPtrArray *keep, char **strings, size_t count)
{
    char **vector;

    if (count == 0)
        return NULL;
    vector = g_new0(char *, count + 1);
    memcpy(vector, strings, count * sizeof *strings);
    g_ptr_array_add(keep, vector);
    return (const char *const *)vector;
}

/* Sets everything in the attachment except the cached result. keep owns what the attachment points to. */
static gboolean attachment_fill(const Pod *pod, GPtrArray *keep, CniAttachment *attachment, GError **error)
{
    const Runtime__V1__PodSandboxMetadata *metadata = pod->config->metadata;
    const Runtime__V1__DNSConfig *dns = pod->config->dns_config;
    const char *const args[] = {"IgnoreUnknown",
                                "1",
                                "K8S_POD_NAMESPACE",
                                metadata->namespace_,
                                "K8S_POD_NAME",
                                metadata->name,
                                "K8S_POD_INFRA_CONTAINER_ID",
                                pod->id,
                                "K8S_POD_UID",
                                metadata->uid,
                                NULL};
    GArray *mappings = port_mappings(pod);

    *attachment = (CniAttachment){
        .container_id = pod->id,
        .netns_path = netns_exists(pod->netns_path) ? pod->netns_path : "",
        .ifname = GUEST_INTERFACE,
        .args = borrowed_strv(keep, (char **)(void *)args, G_N_ELEMENTS(args) - 1),
        .n_port_mappings = mappings->len,
    };
    attachment->port_mappings = (const CniPortMapping *)(void *)g_array_free(mappings, FALSE);
    g_ptr_array_add(keep, (gpointer)attachment->port_mappings);
    if (dns != NULL) {
        attachment->dns_servers = borrowed_strv(keep, dns->servers, dns->n_servers);
        attachment->dns_searches = borrowed_strv(keep, dns->searches, dns->n_searches);
        attachment->dns_options = borrowed_strv(keep, dns->options, dns->n_options);
    }
    return bandwidth_parse(pod, INGRESS_BANDWIDTH, &attachment->ingress_bits_per_s, error) &&
           bandwidth_parse(pod, EGRESS_BANDWIDTH, &attachment->egress_bits_per_s, error);
}

gboolean pod_network_add(Pod *pod, const Deadline *deadline, CniResult **ret_network, GError **error)
{
    g_autoptr(GPtrArray) keep = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(CniNetwork) network = manager_cni_network(pod->manager, error);
    Deadline bounded = deadline_sooner(deadline, pod->settings->network.cni_timeout_ms);
    CniAttachment attachment;

    if (network == NULL || !attachment_fill(pod, keep, &attachment, error))
        return FALSE;
    g_mutex_lock(&pod->lock);
    pod->cni_config = cni_network_text(network);
    g_mutex_unlock(&pod->lock);
    if (!pod_save(pod, error))
        return FALSE;
    if (!cni_network_add(network, &attachment, &bounded, ret_network, error)) {
        /* VMs of the pool have addresses, which may be what is missing; the kubelet tries again. */
        vm_pool_forget_demand(pod->manager->pool);
        return FALSE;
    }
    return TRUE;
}

gboolean pod_network_is_filtered(const Pod *pod)
{
    const Settings *settings = pod->settings;
    const Handler *handler = handler_find(settings->handlers, pod->handler, NULL);

    return handler != NULL ? handler->own_addresses_only : settings->network.own_addresses_only;
}

/* The configuration may have been repaired since: a configuration with which ADD fails makes DEL fail as
 * well. */
static gboolean del_with_current(Pod *pod, CniNetwork *stored, const CniAttachment *attachment,
                                 const Deadline *deadline)
{
    g_autoptr(CniNetwork) current = manager_cni_network(pod->manager, NULL);

    return current != NULL && g_str_equal(cni_network_name(current), cni_network_name(stored)) &&
           cni_network_del(current, attachment, deadline, NULL);
}

gboolean pod_network_del(Pod *pod, const Deadline *deadline, GError **error)
{
    g_autoptr(GPtrArray) keep = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(CniNetwork) network = NULL;
    g_autoptr(GError) problem = NULL;
    g_autofree char *config = NULL;
    g_autofree char *result = NULL;
    CniAttachment attachment;

    g_mutex_lock(&pod->lock);
    config = g_strdup(pod->cni_config);
    result = g_strdup(pod->cni_result);
    g_mutex_unlock(&pod->lock);
    if (config == NULL)
        return TRUE; /* ADD never began, or DEL is done */
    network = cni_network_from_text(config, pod->manager->settings->network.cni_plugin_dirs, error);
    if (network == NULL || !attachment_fill(pod, keep, &attachment, error))
        return FALSE;
    attachment.cached_result = result;
    if (!cni_network_del(network, &attachment, deadline, &problem) &&
        !del_with_current(pod, network, &attachment, deadline)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    g_mutex_lock(&pod->lock);
    g_clear_pointer(&pod->cni_config, g_free);
    g_clear_pointer(&pod->cni_result, g_free);
    g_mutex_unlock(&pod->lock);
    return TRUE;
}

void pod_network_record(Pod *pod, const CniResult *network)
{
    g_autoptr(GPtrArray) ips = g_ptr_array_new();

    for (guint i = 0; i < network->addresses->len; i++) {
        const char *cidr = ((CniAddress *)network->addresses->pdata[i])->address;

        g_ptr_array_add(ips, g_strndup(cidr, strcspn(cidr, "/")));
    }
    g_ptr_array_add(ips, NULL);
    g_mutex_lock(&pod->lock);
    g_strfreev(pod->ips);
    pod->ips = (char **)g_ptr_array_steal(ips, NULL);
    g_free(pod->cni_result);
    pod->cni_result = g_strdup(network->json);
    g_mutex_unlock(&pod->lock);
}

void pod_network_take(Pod *pod, GuestNetwork *network)
{
    pod->pooled_network = network;
    pod->cni_config = g_strdup(network->config);
    pod_network_record(pod, network->result);
}

CniResult *pod_network_taken(Pod *pod)
{
    g_autoptr(GuestNetwork) network = g_steal_pointer(&pod->pooled_network);

    return network != NULL ? g_steal_pointer(&network->result) : NULL;
}

GPtrArray *pod_network_addresses(Pod *pod)
{
    GPtrArray *addresses = g_ptr_array_new_with_free_func(g_free);

    g_mutex_lock(&pod->lock);
    for (guint i = 0; pod->ips[i] != NULL; i++) {
        CniAddress *address = g_malloc0(sizeof *address + strlen(pod->ips[i]) + 1);

        address->address = memcpy(address + 1, pod->ips[i], strlen(pod->ips[i]) + 1);
        address->ipv6 = strchr(pod->ips[i], ':') != NULL;
        g_ptr_array_add(addresses, address);
    }
    g_mutex_unlock(&pod->lock);
    return addresses;
}

gboolean pod_network_redirect(Pod *pod, GError **error)
{
    g_autoptr(GPtrArray) addresses = pod_network_addresses(pod);

    return redirect_install(pod->netns_path, GUEST_INTERFACE, pod->tap,
                            pod_network_is_filtered(pod) ? addresses : NULL, error);
}

void pod_network_del_orphan(SandboxManager *manager, const char *id)
{
    g_autofree char *netns = guest_netns_path(&manager->guests, id);
    g_autoptr(CniNetwork) network = manager_cni_network(manager, NULL);
    g_autoptr(Settings) settings = live_settings_get(manager->live);
    const CniAttachment attachment = {
        .container_id = id, .netns_path = netns_exists(netns) ? netns : "", .ifname = GUEST_INTERFACE};
    Deadline deadline = deadline_in_ms(settings->network.cni_timeout_ms);
    g_autoptr(GError) error = NULL;

    if (network != NULL && !cni_network_del(network, &attachment, &deadline, &error))
        log_warning(LOG_FIELDS("sandbox", id), "%s", error->message);
}

void pod_network_collect(SandboxManager *manager)
{
    g_autoptr(CniNetwork) network = manager_cni_network(manager, NULL);
    g_autoptr(GPtrArray) pods = manager_pods(manager);
    g_autoptr(GPtrArray) ids = g_ptr_array_new();
    g_autoptr(Settings) settings = live_settings_get(manager->live);
    Deadline deadline = deadline_in_ms(MIN(settings->network.cni_timeout_ms, (gint64)COLLECT_TIMEOUT_MS));
    g_autoptr(GError) error = NULL;

    for (guint i = 0; i < pods->len; i++)
        g_ptr_array_add(ids, ((Pod *)pods->pdata[i])->id);
    g_ptr_array_add(ids, NULL);
    if (network != NULL &&
        !cni_network_gc(network, (const char *const *)ids->pdata, GUEST_INTERFACE, &deadline, &error))
        log_warning(LOG_NO_FIELDS, "%s", error->message);
}

char *pod_network_hostname(const Pod *pod)
{
    if (*pod->config->hostname != '\0')
        return g_strdup(pod->config->hostname);
    return g_strdup(g_get_host_name());
}

static void append_words(GString *text, const char *keyword, const char *const *words, gsize count)
{
    if (count == 0)
        return;
    g_string_append(text, keyword);
    for (gsize i = 0; i < count; i++)
        g_string_append_printf(text, " %s", words[i]);
    g_string_append_c(text, '\n');
}

static char *resolv_conf(const char *const *servers, gsize n_servers, const char *const *searches,
                         gsize n_searches, const char *const *options, gsize n_options)
{
    GString *text = g_string_new(NULL);

    append_words(text, "search", searches, n_searches);
    for (gsize i = 0; i < n_servers; i++)
        append_words(text, "nameserver", &servers[i], 1);
    append_words(text, "options", options, n_options);
    return g_string_free(text, FALSE);
}

char *pod_network_resolv_conf(const Pod *pod, const CniResult *network)
{
    const Runtime__V1__DNSConfig *dns = pod->config->dns_config;
    char *text = NULL;

    if (dns != NULL && (dns->n_servers > 0 || dns->n_searches > 0 || dns->n_options > 0))
        return resolv_conf((const char *const *)dns->servers, dns->n_servers,
                           (const char *const *)dns->searches, dns->n_searches,
                           (const char *const *)dns->options, dns->n_options);
    if (network != NULL && network->dns_servers != NULL && *network->dns_servers != NULL)
        return resolv_conf((const char *const *)network->dns_servers, g_strv_length(network->dns_servers),
                           (const char *const *)network->dns_searches,
                           network->dns_searches != NULL ? g_strv_length(network->dns_searches) : 0,
                           (const char *const *)network->dns_options,
                           network->dns_options != NULL ? g_strv_length(network->dns_options) : 0);
    if (file_read("/etc/resolv.conf", MAX_RESOLV_CONF_BYTES, &text, NULL, NULL))
        return text;
    return g_strdup("");
}

char *pod_network_hosts(const CniResult *network, const char *hostname)
{
    GString *text = g_string_new("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    char *node = NULL;

    if (network == NULL) {
        if (!file_read("/etc/hosts", MAX_HOSTS_BYTES, &node, NULL, NULL))
            return g_string_free(text, FALSE);
        g_string_free(text, TRUE);
        return node;
    }
    for (guint i = 0; i < network->addresses->len; i++) {
        const char *cidr = ((CniAddress *)network->addresses->pdata[i])->address;

        g_string_append_printf(text, "%.*s\t%s\n", (int)strcspn(cidr, "/"), cidr, hostname);
    }
    return g_string_free(text, FALSE);
}
