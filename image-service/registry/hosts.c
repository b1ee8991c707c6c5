/* SPDX-License-Identifier: Apache-2.0 */
#include "image-service/registry/hosts.h"

#include <gio/gio.h>
#include <string.h>

#include "common/error.h"
#include "common/fileio.h"
#include "common/log.h"
#include "common/toml.h"

#define DOCKER_HUB "docker.io"
#define DOCKER_HUB_SERVER "registry-1.docker.io"

enum { MAX_CERTIFICATE_BYTES = 4 << 20 };

void registry_endpoint_free(RegistryEndpoint *endpoint)
{
    if (endpoint == NULL)
        return;
    g_free(endpoint->base_url);
    g_free(endpoint->host);
    g_free(endpoint->ca_pem);
    g_free(endpoint->client_cert);
    g_free(endpoint->client_key);
    g_strfreev(endpoint->headers);
    g_free(endpoint);
}

/* "[::1]:5000" into its halves; the port is "" when there is none. */
static void split_host(const char *host, char **ret_name, const char **ret_port)
{
    const char *bracket = strrchr(host, ']');
    const char *colon = strrchr(bracket != NULL ? bracket : host, ':');

    *ret_port = colon != NULL ? colon + 1 : "";
    *ret_name = colon != NULL ? g_strndup(host, (gsize)(colon - host)) : g_strdup(host);
}

static gboolean is_loopback(const char *name)
{
    g_autoptr(GInetAddress) address = NULL;
    g_autofree char *bare = NULL;

    if (g_str_equal(name, "localhost"))
        return TRUE;
    if (*name == '[')
        bare = g_strndup(name + 1, strlen(name) - 2);
    address = g_inet_address_new_from_string(bare != NULL ? bare : name);
    return address != NULL && g_inet_address_get_is_loopback(address);
}

gboolean hosts_url_is_loopback(const char *url)
{
    g_autoptr(GUri) uri = g_uri_parse(url, G_URI_FLAGS_ENCODED, NULL);

    return uri != NULL && g_uri_get_host(uri) != NULL && *g_uri_get_host(uri) != '\0' &&
           is_loopback(g_uri_get_host(uri));
}

/* Where the registry is when no file says so: https, except for a registry on this node, which is usually run
 * without certificates. When there are certificates for it, they are used. */
static void set_default_server(RegistryEndpoint *endpoint, const char *domain)
{
    const char *host = g_str_equal(domain, DOCKER_HUB) ? DOCKER_HUB_SERVER : domain;
    g_autofree char *name = NULL;
    const char *port;
    gboolean has_tls = endpoint->ca_pem != NULL || endpoint->client_cert != NULL || endpoint->skip_verify;
    gboolean plain;

    split_host(host, &name, &port);
    plain = !has_tls && is_loopback(name) && *port != '\0' && !g_str_equal(port, "443");
    endpoint->base_url = g_strdup_printf("%s://%s/v2", plain ? "http" : "https", host);
    endpoint->host = g_strdup(host);
}

static RegistryEndpoint *endpoint_new(void)
{
    RegistryEndpoint *endpoint = g_new0(RegistryEndpoint, 1);

    endpoint->can_pull = TRUE;
    endpoint->can_resolve = TRUE;
    endpoint->headers = g_new0(char *, 1);
    return endpoint;
}

/* scheme://host[:port][/path] from a file; /v2 is added unless the path is to be left alone. */
static gboolean set_url(RegistryEndpoint *endpoint, const char *text, gboolean override_path, GError **error)
{
    g_autofree char *with_scheme =
        strstr(text, "://") != NULL ? g_strdup(text) : g_strconcat("https://", text, NULL);
    g_autofree char *path = NULL;
    g_autoptr(GUri) uri = g_uri_parse(with_scheme, G_URI_FLAGS_ENCODED, NULL);
    const char *authority = strstr(with_scheme, "://") + 3;
    gsize length;

    if (uri == NULL || g_uri_get_host(uri) == NULL || *g_uri_get_host(uri) == '\0' ||
        g_uri_get_userinfo(uri) != NULL || g_uri_get_query(uri) != NULL || g_uri_get_fragment(uri) != NULL ||
        (!g_str_equal(g_uri_get_scheme(uri), "http") && !g_str_equal(g_uri_get_scheme(uri), "https")))
        return fail(error, STATUS_INVALID_ARGUMENT,
                    "\"%s\" is no URL of the form http(s)://host[:port][/path]", text);
    path = g_strdup(g_uri_get_path(uri));
    for (length = strlen(path); length > 0 && path[length - 1] == '/'; length--)
        path[length - 1] = '\0';
    endpoint->host = g_strndup(authority, strcspn(authority, "/"));
    endpoint->base_url = g_strdup_printf("%s://%s%s%s", g_uri_get_scheme(uri), endpoint->host, path,
                                         override_path || g_str_has_suffix(path, "/v2") ? "" : "/v2");
    return TRUE;
}

static char *absolute_path(const char *directory, const char *path)
{
    return g_path_is_absolute(path) ? g_strdup(path) : g_build_filename(directory, path, NULL);
}

static gboolean add_ca(RegistryEndpoint *endpoint, const char *path, GError **error)
{
    g_autofree char *before = g_steal_pointer(&endpoint->ca_pem);
    g_autofree char *pem = NULL;

    if (!file_read(path, MAX_CERTIFICATE_BYTES, &pem, NULL, error))
        return FALSE;
    endpoint->ca_pem = g_strconcat(before != NULL ? before : "", pem, "\n", NULL);
    return TRUE;
}

static void warn_of_capability(const TomlTable *table, const char *name)
{
    g_autofree char *place = toml_place(table, "capabilities");

    log_warning(LOG_NO_FIELDS, "%s: \"%s\" is not a known capability and is ignored", place, name);
}

static gboolean read_capabilities(RegistryEndpoint *endpoint, const TomlTable *table, GError **error)
{
    g_auto(GStrv) names = NULL;

    if (!toml_get_strv(table, "capabilities", &names, error))
        return FALSE;
    if (names == NULL || names[0] == NULL)
        return TRUE;
    endpoint->can_pull = endpoint->can_resolve = FALSE;
    for (gsize i = 0; names[i] != NULL; i++) {
        if (g_str_equal(names[i], "pull"))
            endpoint->can_pull = TRUE;
        else if (g_str_equal(names[i], "resolve"))
            endpoint->can_resolve = TRUE;
        else if (!g_str_equal(names[i], "push") && !g_str_equal(names[i], "referrers"))
            warn_of_capability(table, names[i]);
    }
    return TRUE;
}

static gboolean read_tls(RegistryEndpoint *endpoint, const TomlTable *table, const char *directory,
                         GError **error)
{
    g_autoptr(GPtrArray) authorities = NULL;
    g_autoptr(GPtrArray) clients = NULL;

    if (!toml_get_strvs(table, "ca", &authorities, error) ||
        !toml_get_strvs(table, "client", &clients, error) ||
        !toml_get_bool(table, "skip_verify", &endpoint->skip_verify, error))
        return FALSE;
    for (guint i = 0; authorities != NULL && i < authorities->len; i++)
        for (char **path = g_ptr_array_index(authorities, i); *path != NULL; path++) {
            g_autofree char *full = absolute_path(directory, *path);

            if (!add_ca(endpoint, full, error))
                return FALSE;
        }
    if (clients != NULL && clients->len > 0) {
        char **pair = g_ptr_array_index(clients, 0);

        if (g_strv_length(pair) < 1 || g_strv_length(pair) > 2)
            return fail(error, STATUS_INVALID_ARGUMENT, "client must be a certificate or [certificate, key]");
        endpoint->client_cert = absolute_path(directory, pair[0]);
        /* A certificate alone has its key in the same file. */
        endpoint->client_key = pair[1] != NULL && *pair[1] != '\0' ? absolute_path(directory, pair[1])
                                                                   : g_strdup(endpoint->client_cert);
    }
    return TRUE;
}

static gboolean read_headers(RegistryEndpoint *endpoint, const TomlTable *table, GError **error)
{
    g_autoptr(GStrvBuilder) lines = g_strv_builder_new();
    GError *local = NULL;
    const TomlTable *header = toml_get_table(table, "header", &local);
    g_autofree const char **names = header != NULL ? toml_keys(header) : g_new0(const char *, 1);

    if (local != NULL) {
        g_propagate_error(error, local);
        return FALSE;
    }
    for (gsize i = 0; names[i] != NULL; i++) {
        g_autoptr(GPtrArray) values = NULL;

        if (!toml_get_strvs(header, names[i], &values, error))
            return FALSE;
        for (guint j = 0; j < values->len; j++)
            for (char **value = g_ptr_array_index(values, j); *value != NULL; value++) {
                g_autofree char *line = g_strdup_printf("%s: %s", names[i], *value);

                if (*names[i] == '\0' || strpbrk(names[i], ": \t") != NULL || strpbrk(line, "\r\n") != NULL)
                    return fail(error, STATUS_INVALID_ARGUMENT, "\"%s\" is no HTTP header", names[i]);
                g_strv_builder_add(lines, line);
            }
    }
    g_strfreev(endpoint->headers);
    endpoint->headers = g_strv_builder_end(lines);
    return TRUE;
}

/* A hosts.toml, and the domain that it is read for. */
typedef struct {
    const char *path;
    const char *directory;
    const char *domain;
} HostsFile;

/* A [host."…"] table, or the top of the file, which describes the server. */
static RegistryEndpoint *read_endpoint(const TomlTable *table, const char *url, const HostsFile *file,
                                       GError **error)
{
    const char *domain = file->domain;
    g_autoptr(RegistryEndpoint) endpoint = endpoint_new();
    gboolean override_path = FALSE;

    if (!toml_get_bool(table, "override_path", &override_path, error) ||
        !read_capabilities(endpoint, table, error) || !read_tls(endpoint, table, file->directory, error) ||
        !read_headers(endpoint, table, error))
        return NULL;
    if (url == NULL)
        set_default_server(endpoint, domain);
    else if (!set_url(endpoint, url, override_path, error))
        return NULL;
    endpoint->is_mirror =
        !g_str_equal(endpoint->host, domain) &&
        !(g_str_equal(domain, DOCKER_HUB) && g_str_equal(endpoint->host, DOCKER_HUB_SERVER));
    return g_steal_pointer(&endpoint);
}

/* Keys of newer versions of containerd, or of other tools, must not stop pulls. */
static void warn_of_unknown_keys(const TomlTable *table, const char *const *known)
{
    g_autofree const char **keys = toml_keys(table);

    for (gsize i = 0; keys[i] != NULL; i++)
        if (!g_strv_contains(known, keys[i])) {
            g_autofree char *place = toml_place(table, keys[i]);

            log_warning(LOG_NO_FIELDS, "%s is not a known setting and is ignored", place);
        }
}

static gboolean read_hosts(const TomlTable *root, const HostsFile *file, GPtrArray *endpoints, GError **error)
{
    static const char *const known[] = {"capabilities",  "ca",           "client", "skip_verify", "header",
                                        "override_path", "dial_timeout", NULL};
    GError *failure = NULL;
    const TomlTable *hosts = toml_get_table(root, "host", &failure);
    g_autofree const char **urls = hosts != NULL ? toml_keys(hosts) : g_new0(const char *, 1);

    if (failure != NULL) {
        g_propagate_error(error, failure);
        return FALSE;
    }
    for (gsize i = 0; urls[i] != NULL; i++) {
        const TomlTable *table = toml_get_table(hosts, urls[i], error);
        RegistryEndpoint *endpoint;

        if (table == NULL)
            return FALSE;
        warn_of_unknown_keys(table, known);
        endpoint = read_endpoint(table, urls[i], file, error);
        if (endpoint == NULL) {
            g_prefix_error(error, "host \"%s\": ", urls[i]);
            return FALSE;
        }
        g_ptr_array_add(endpoints, endpoint);
    }
    return TRUE;
}

/* Whether what the endpoint can do is tried at the same address already. */
static gboolean is_covered(const GPtrArray *endpoints, const RegistryEndpoint *endpoint)
{
    for (guint i = 0; i < endpoints->len; i++) {
        const RegistryEndpoint *other = g_ptr_array_index(endpoints, i);

        if (g_str_equal(other->base_url, endpoint->base_url) && other->can_pull >= endpoint->can_pull &&
            other->can_resolve >= endpoint->can_resolve)
            return TRUE;
    }
    return FALSE;
}

static gboolean read_hosts_file(const HostsFile *file, GPtrArray *endpoints, GError **error)
{
    static const char *const known[] = {"capabilities",  "ca",           "client", "skip_verify", "header",
                                        "override_path", "dial_timeout", "server", "host",        NULL};
    g_autoptr(TomlTable) root = toml_parse_file(file->path, error);
    g_autofree char *server = NULL;
    RegistryEndpoint *endpoint;

    if (root == NULL || !toml_get_string(root, "server", &server, error))
        return FALSE;
    warn_of_unknown_keys(root, known);
    if (!read_hosts(root, file, endpoints, error))
        return FALSE;
    endpoint = read_endpoint(root, server != NULL && *server != '\0' ? server : NULL, file, error);
    if (endpoint == NULL)
        return FALSE;
    if (is_covered(endpoints, endpoint))
        registry_endpoint_free(endpoint);
    else
        g_ptr_array_add(endpoints, endpoint);
    return TRUE;
}

/* Docker's layout: NAME.crt to trust, NAME.cert with NAME.key to show. */
static gboolean read_certificates(const char *directory, RegistryEndpoint *endpoint, GError **error)
{
    g_autoptr(GDir) entries = g_dir_open(directory, 0, NULL);
    const char *name;

    while (entries != NULL && (name = g_dir_read_name(entries)) != NULL) {
        g_autofree char *path = g_build_filename(directory, name, NULL);

        if (g_str_has_suffix(name, ".crt") && !add_ca(endpoint, path, error))
            return FALSE;
        if (g_str_has_suffix(name, ".cert") && endpoint->client_cert == NULL) {
            endpoint->client_cert = g_strdup(path);
            endpoint->client_key = g_strdup_printf("%.*s.key", (int)(strlen(path) - strlen(".cert")), path);
        }
    }
    return TRUE;
}

/* The first that exists of host_port_, host:port and _default; NULL when none does. */
static char *find_directory(const char *hosts_dir, const char *domain)
{
    g_autofree char *name = NULL;
    g_autofree char *underscored = NULL;
    const char *port;

    split_host(domain, &name, &port);
    underscored = *port != '\0' ? g_strdup_printf("%s_%s_", name, port) : g_strdup(domain);
    const char *const candidates[] = {underscored, domain, "_default"};
    for (gsize i = 0; i < G_N_ELEMENTS(candidates); i++) {
        g_autofree char *path = g_build_filename(hosts_dir, candidates[i], NULL);

        if (g_file_test(path, G_FILE_TEST_IS_DIR))
            return g_steal_pointer(&path);
    }
    return NULL;
}

gboolean hosts_load(const char *hosts_dir, const char *domain, GPtrArray **ret_endpoints, GError **error)
{
    g_autoptr(GPtrArray) endpoints = g_ptr_array_new_with_free_func((GDestroyNotify)registry_endpoint_free);
    g_autofree char *directory = hosts_dir != NULL ? find_directory(hosts_dir, domain) : NULL;
    g_autofree char *file = directory != NULL ? g_build_filename(directory, "hosts.toml", NULL) : NULL;

    if (file != NULL && g_file_test(file, G_FILE_TEST_EXISTS)) {
        HostsFile hosts = {file, directory, domain};

        if (!read_hosts_file(&hosts, endpoints, error)) {
            g_prefix_error(error, "%s: ", file);
            return FALSE;
        }
    } else {
        RegistryEndpoint *server = endpoint_new();

        g_ptr_array_add(endpoints, server);
        if (directory != NULL && !read_certificates(directory, server, error))
            return FALSE;
        set_default_server(server, domain);
    }
    *ret_endpoints = g_steal_pointer(&endpoints);
    return TRUE;
}
