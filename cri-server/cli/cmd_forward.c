/* SPDX-License-Identifier: Apache-2.0 */
/* crivirt port-forward. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api.pb-c.h"
#include "common/error.h"
#include "cri-server/cli/commands.h"
#include "cri-server/cli/inventory.h"
#include "cri-server/cli/stream_run.h"

/* The channels of a pod's port over WebSocket: data and errors. */
enum { CHANNEL_DATA, CHANNEL_PROBLEM, PORT_BYTES = 2, COPY_BYTES = 32 << 10 };

typedef struct {
    guint16 here, there;
    int listener;
} Mapping;

typedef struct {
    const Mapping *mapping;
    int fd;
    StreamClient *client;
    gsize prefix[2];      /* bytes received of the port's number, with which each channel begins */
    gboolean input_ended; /* closed by the program on this node */
    gboolean is_over;
} Connection;

typedef struct {
    Cli *cli;
    const char *pod_id;
    GArray *mappings;       /* Mapping */
    GPtrArray *connections; /* Connection */
} Forwarder;

static void connection_free(gpointer data)
{
    Connection *connection = data;

    stream_client_close(connection->client);
    close(connection->fd);
    g_free(connection);
}

/* ---- arguments ---- */

static gboolean read_mapping(const char *text, Mapping *ret_mapping, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", 2);
    const char *there = parts[0] != NULL && parts[1] != NULL ? parts[1] : text;
    guint64 from = 0;
    guint64 to = 0;

    if (g_str_has_suffix(text, "/udp"))
        return usage_fail(error, "\"%s\": only TCP ports can be forwarded", text);
    if (!g_ascii_string_to_unsigned(there, 10, 1, G_MAXUINT16, &to, NULL) ||
        !g_ascii_string_to_unsigned(parts[0], 10, 1, G_MAXUINT16, &from, NULL))
        return usage_fail(error, "\"%s\" is not PORT or HERE:PORT", text);
    *ret_mapping = (Mapping){(guint16)from, (guint16)to, -1};
    return TRUE;
}

static gboolean listen_on(Mapping *mapping, const char *address, GError **error)
{
    g_autoptr(GSocketAddress) place = g_inet_socket_address_new_from_string(address, mapping->here);
    struct sockaddr_storage native;
    gssize size = place != NULL ? g_socket_address_get_native_size(place) : -1;
    int yes = 1;

    if (size < 0 || !g_socket_address_to_native(place, &native, sizeof native, NULL))
        return usage_fail(error, "--address: \"%s\" is not an IP address", address);
    mapping->listener = socket(native.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (mapping->listener < 0 ||
        setsockopt(mapping->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) < 0 ||
        bind(mapping->listener, (struct sockaddr *)&native, (socklen_t)size) < 0 ||
        listen(mapping->listener, SOMAXCONN) < 0)
        return fail_errno(error, errno, "cannot listen on %s port %u", address, mapping->here);
    return TRUE;
}

/* ---- one connection ---- */

static gboolean on_received(guint channel, const guint8 *bytes, gsize length, gpointer data, GError **error)
{
    Connection *connection = data;
    gsize skip = channel <= CHANNEL_PROBLEM ? MIN(length, PORT_BYTES - connection->prefix[channel]) : length;

    (void)error;
    if (channel > CHANNEL_PROBLEM)
        return TRUE;
    connection->prefix[channel] += skip;
    bytes += skip;
    length -= skip;
    if (channel == CHANNEL_PROBLEM && length > 0)
        cli_warn("port %u: %.*s", connection->mapping->here, (int)length, (const char *)bytes);
    while (channel == CHANNEL_DATA && length > 0 && !connection->is_over) {
        ssize_t n = TEMP_FAILURE_RETRY(send(connection->fd, bytes, length, MSG_NOSIGNAL));

        connection->is_over = n < 0;
        bytes += MAX(n, 0);
        length -= (gsize)MAX(n, 0);
    }
    return TRUE;
}

static gboolean connection_open(Forwarder *forwarder, const Mapping *mapping, int fd, GError **error)
{
    Connection *connection = g_new0(Connection, 1);
    StreamAddress address;

    connection->mapping = mapping;
    connection->fd = fd;
    if (stream_forward_address(forwarder->cli, forwarder->pod_id, mapping->there, &address, error))
        connection->client =
            stream_client_open(&address, "v5.channel.k8s.io", on_received, connection, error);
    if (connection->client == NULL) {
        close(fd);
        g_free(connection);
        return FALSE;
    }
    g_ptr_array_add(forwarder->connections, connection);
    return TRUE;
}

static void copy_input(Connection *connection)
{
    guint8 buffer[COPY_BYTES];
    ssize_t n = TEMP_FAILURE_RETRY(recv(connection->fd, buffer, sizeof buffer, MSG_DONTWAIT));

    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0) {
        stream_client_send(connection->client, CHANNEL_DATA, buffer, (gsize)n);
        return;
    }
    connection->input_ended = TRUE;
    stream_client_end(connection->client, CHANNEL_DATA);
}

static void connection_work(Connection *connection, const struct pollfd *ours, const struct pollfd *theirs)
{
    g_autoptr(GError) error = NULL;
    gboolean over = FALSE;

    if (ours->revents != 0)
        copy_input(connection);
    if (!stream_client_work(connection->client, (gushort)theirs->revents, &over, &error))
        cli_warn("port %u: %s", connection->mapping->here, error->message);
    connection->is_over = connection->is_over || over || error != NULL;
}

/* ---- all connections ---- */

static void add_poll(GArray *fds, int fd, int events)
{
    struct pollfd item = {fd, (short)events, 0};

    g_array_append_val(fds, item);
}

static void accept_one(Forwarder *forwarder, const Mapping *mapping)
{
    g_autoptr(GError) error = NULL;
    int fd = accept4(mapping->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0 && !connection_open(forwarder, mapping, fd, &error))
        cli_warn("port %u: %s", mapping->here, error->message);
}

static gboolean wait_once(Forwarder *forwarder, GError **error)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(struct pollfd));
    guint n_connections = forwarder->connections->len;
    gboolean early = FALSE;
    guint at = 1;

    add_poll(fds, g_cancellable_get_fd(forwarder->cli->interrupt), POLLIN);
    for (guint i = 0; i < forwarder->mappings->len; i++)
        add_poll(fds, g_array_index(forwarder->mappings, Mapping, i).listener, POLLIN);
    for (guint i = 0; i < n_connections; i++) {
        Connection *connection = forwarder->connections->pdata[i];
        GPollFD client = stream_client_poll(connection->client);
        gboolean reads = !connection->input_ended && stream_client_has_room(connection->client);

        add_poll(fds, reads ? connection->fd : -1, POLLIN);
        add_poll(fds, client.fd, client.events);
        early = early || client.revents != 0;
    }
    if (poll((struct pollfd *)(void *)fds->data, fds->len, early ? 0 : -1) < 0 && errno != EINTR)
        return fail_errno(error, errno, "cannot wait for connections");
    for (guint i = 0; i < forwarder->mappings->len; i++)
        if (g_array_index(fds, struct pollfd, at++).revents != 0)
            accept_one(forwarder, &g_array_index(forwarder->mappings, Mapping, i));
    for (guint i = 0; i < n_connections; i++, at += 2)
        connection_work(forwarder->connections->pdata[i], &g_array_index(fds, struct pollfd, at),
                        &g_array_index(fds, struct pollfd, at + 1));
    for (guint i = forwarder->connections->len; i > 0; i--)
        if (((Connection *)forwarder->connections->pdata[i - 1])->is_over)
            g_ptr_array_remove_index_fast(forwarder->connections, i - 1);
    return TRUE;
}

static gboolean forward_ports(Forwarder *forwarder, GError **error)
{
    const char *address = options_value(forwarder->cli->options, "address", "127.0.0.1");

    for (const char *const *text = options_operands(forwarder->cli->options) + 1; *text != NULL; text++) {
        g_autofree char *line = NULL;
        Mapping mapping;

        if (!read_mapping(*text, &mapping, error) || !listen_on(&mapping, address, error))
            return FALSE;
        g_array_append_val(forwarder->mappings, mapping);
        line = g_strdup_printf("Forwarding from %s:%u -> %u\n", address, mapping.here, mapping.there);
        if (!cli_print(line, error))
            return FALSE;
    }
    while (!g_cancellable_is_cancelled(forwarder->cli->interrupt))
        if (!wait_once(forwarder, error))
            return FALSE;
    return TRUE;
}

/* The operand is the pod's name or id, or that of one of its containers. */
static const char *find_pod(Cli *cli, const char *name, GError **error)
{
    const Inventory *inventory = inventory_load(cli, error);
    const Runtime__V1__PodSandbox *pod =
        inventory != NULL ? inventory_pod(cli, inventory, name, error) : NULL;

    return pod != NULL ? pod->id : NULL;
}

static gboolean forward_command(Cli *cli, GError **error)
{
    g_autoptr(GArray) mappings = g_array_new(FALSE, FALSE, sizeof(Mapping));
    g_autoptr(GPtrArray) connections = g_ptr_array_new_with_free_func(connection_free);
    Forwarder forwarder = {.cli = cli, .mappings = mappings, .connections = connections};

    forwarder.pod_id = find_pod(cli, options_operands(cli->options)[0], error);
    return forwarder.pod_id != NULL && forward_ports(&forwarder, error);
}

static const OptionSpec forward_options[] = {
    {"address", 0, OPTION_VALUE, "IP", "address to listen on (default 127.0.0.1)"},
    {NULL},
};

const Command command_port_forward = {
    .name = "port-forward",
    .group = "Pods",
    .usage = "[OPTIONS] POD [HERE:]PORT...",
    .help = "Connect ports of this node to ports inside a pod",
    .details = "Forwards TCP to the pod's loopback address, so it also reaches programs that listen only "
               "there. Ends with Ctrl-C.",
    .options = forward_options,
    .min_operands = 2,
    .max_operands = -1,
    .run = forward_command,
};
