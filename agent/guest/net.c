/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guest/net_connections.h"
#include "agent/guest/sysfile.h"

enum { NO_DAD_FLAG = 0x02 /* IFA_F_NODAD: CNI ensures that the addresses are unique */ };

/* One request under construction, with room for the largest one. */
typedef struct {
    struct nlmsghdr header;
    uint8_t body[512];
} Message;

bool net_parse_mac(const char *text, uint8_t ret_mac[6])
{
    unsigned bytes[6];
    int end = 0;
    /* NOLINTNEXTLINE(cert-err34-c): two hexadecimal digits cannot overflow */
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4],
               &bytes[5], &end) != 6 ||
        text[end] != '\0' || end != 17)
        return false;
    for (int i = 0; i < 6; i++)
        ret_mac[i] = (uint8_t)bytes[i];
    return true;
}

bool net_parse_address(const char *text, NetAddress *ret_address)
{
    char copy[64];
    NetAddress address = {.family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET};
    if (strlen(text) >= sizeof copy)
        return false;
    strcpy(copy, text); /* NOLINT: the length has been checked */
    char *slash = strchr(copy, '/');
    if (slash != NULL)
        *slash++ = '\0';

    address.length = address.family == AF_INET ? 4 : 16;
    address.prefix = (uint8_t)(address.length * 8);
    if (inet_pton(address.family, copy, address.bytes) != 1)
        return false;
    if (slash != NULL) {
        char *end;
        unsigned long prefix = strtoul(slash, &end, 10);
        if (*slash < '0' || *slash > '9' || *end != '\0' || prefix > address.length * 8)
            return false;
        address.prefix = (uint8_t)prefix;
    }
    *ret_address = address;
    return true;
}

static void message_start(Message *message, uint16_t type, uint16_t flags, const void *fixed,
                          size_t fixed_length)
{
    memset(message, 0, sizeof *message);
    message->header.nlmsg_type = type;
    message->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    message->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(fixed_length);
    memcpy(message->body, fixed, fixed_length);
}

static struct rtattr *message_add(Message *message, uint16_t type, const void *data, size_t length)
{
    struct rtattr *attribute = (struct rtattr *)((char *)message + NLMSG_ALIGN(message->header.nlmsg_len));
    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(length);
    if (length > 0)
        memcpy(RTA_DATA(attribute), data, length);
    message->header.nlmsg_len = NLMSG_ALIGN(message->header.nlmsg_len) + RTA_ALIGN(attribute->rta_len);
    return attribute;
}

/* Return: 0, or the errno value that the kernel answered. */
static int message_send(Message *message)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        uint8_t rest[1024];
    } answer;
    int result = EIO;

    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return errno;
    if (send(fd, message, message->header.nlmsg_len, 0) < 0)
        result = errno;
    else if (recv(fd, &answer, sizeof answer, 0) >= (ssize_t)(sizeof answer.header + sizeof(int)) &&
             answer.header.nlmsg_type == NLMSG_ERROR)
        result = -answer.error.error;
    close(fd);
    return result;
}

/* ---- links ---- */

static int link_change(int index, unsigned flags, unsigned change, uint16_t type, const void *data,
                       size_t length)
{
    struct ifinfomsg fixed = {
        .ifi_family = AF_UNSPEC, .ifi_index = index, .ifi_flags = flags, .ifi_change = change};
    Message message;
    message_start(&message, RTM_NEWLINK, 0, &fixed, sizeof fixed);
    if (length > 0)
        message_add(&message, type, data, length);
    return message_send(&message);
}

static int link_set_up(int index, bool up)
{
    return link_change(index, up ? IFF_UP : 0, IFF_UP, 0, NULL, 0);
}

static bool link_has_mac(const char *name, const uint8_t mac[6])
{
    char path[64 + IF_NAMESIZE];
    char text[32];
    uint8_t present[6];
    snprintf(path, sizeof path, "/sys/class/net/%s/address", name);
    FILE *file = fopen(path, "re");
    bool same = file != NULL && fgets(text, sizeof text, file) != NULL;
    if (file != NULL)
        fclose(file);
    if (!same)
        return false;
    text[strcspn(text, "\n")] = '\0';
    return net_parse_mac(text, present) && memcmp(present, mac, 6) == 0;
}

static int link_find(const uint8_t mac[6])
{
    struct if_nameindex *all = if_nameindex();
    int index = 0;
    for (struct if_nameindex *one = all; one != NULL && one->if_index != 0 && index == 0; one++)
        if (link_has_mac(one->if_name, mac))
            index = (int)one->if_index;
    if (all != NULL)
        if_freenameindex(all);
    return index;
}

bool net_up_loopback(Fault *ret_fault)
{
    int index = (int)if_nametoindex("lo");
    errno = index == 0 ? ENODEV : link_set_up(index, true);
    return errno == 0 || fault_errno(ret_fault, "bringing lo up");
}

/* type: RTM_NEWADDR, or RTM_DELADDR. */
static bool address_start(Message *message, uint16_t type, uint16_t flags, int index,
                          const Interface *interface, const char *text, NetAddress *ret_address,
                          Fault *ret_fault)
{
    NetAddress address;
    if (!net_parse_address(text, &address))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "interface %s: %s is not an address", interface->name,
                     text);
    struct ifaddrmsg fixed = {.ifa_family = (uint8_t)address.family,
                              .ifa_prefixlen = address.prefix,
                              .ifa_flags = address.family == AF_INET6 ? NO_DAD_FLAG : 0,
                              .ifa_index = (unsigned)index};
    message_start(message, type, flags, &fixed, sizeof fixed);
    message_add(message, IFA_LOCAL, address.bytes, address.length);
    message_add(message, IFA_ADDRESS, address.bytes, address.length);
    *ret_address = address;
    return true;
}

static bool address_add(int index, const Interface *interface, const char *text, Fault *ret_fault)
{
    NetAddress address;
    Message message;
    if (!address_start(&message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, index, interface, text, &address,
                       ret_fault))
        return false;
    if (address.family == AF_INET && address.prefix < 31) {
        uint32_t ip, host_bits = htonl(UINT32_MAX >> address.prefix);
        memcpy(&ip, address.bytes, sizeof ip);
        ip |= host_bits;
        message_add(&message, IFA_BROADCAST, &ip, sizeof ip);
    }
    errno = message_send(&message);
    return errno == 0 || errno == EEXIST ||
           fault_errno(ret_fault, "adding address %s to %s", text, interface->name);
}

static bool link_change_identity(int index, const Interface *interface, const uint8_t mac[6],
                                 Fault *ret_fault)
{
    if (interface->mac[0] != '\0' && (errno = link_change(index, 0, 0, IFLA_ADDRESS, mac, 6)) != 0)
        return fault_errno(ret_fault, "giving %s the MAC address %s", interface->name, interface->mac);
    if ((errno = link_change(index, 0, 0, IFLA_IFNAME, interface->name, strlen(interface->name) + 1)) != 0)
        return fault_errno(ret_fault, "naming an interface %s", interface->name);
    if (interface->mtu != 0 &&
        (errno = link_change(index, 0, 0, IFLA_MTU, &interface->mtu, sizeof interface->mtu)) != 0)
        return fault_errno(ret_fault, "giving %s the MTU %u", interface->name, interface->mtu);
    return true;
}

/* Switches duplicate address detection off, which takes a second: the link-local address is unique because
 * CNI chose the MAC address. A guest without IPv6 has no such files. */
static void link_disable_dad(const char *name)
{
    char path[64 + IF_NAMESIZE];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/accept_dad", name);
    sysfile_write("/proc/sys/net/ipv6/conf/all/accept_dad", "0");
    sysfile_write(path, "0");
}

/* The node would refuse what came from such an address, and the kernel would choose it for some destinations.
 */
static void link_disable_autoconf(const char *name)
{
    char path[64 + IF_NAMESIZE];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/autoconf", name);
    sysfile_write(path, "0");
}

bool net_configure_interface(const Interface *interface, Fault *ret_fault)
{
    uint8_t present[6], mac[6];
    bool by_name = interface->find_mac[0] == '\0';

    if ((!by_name && !net_parse_mac(interface->find_mac, present)) ||
        (interface->mac[0] != '\0' && !net_parse_mac(interface->mac, mac)))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "interface %s: \"%s\" or \"%s\" is not a MAC address",
                     interface->name, interface->find_mac, interface->mac);
    if (interface->name[0] == '\0' || strlen(interface->name) >= IF_NAMESIZE)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "\"%s\" is not a name for an interface",
                     interface->name);
    int index = by_name ? (int)if_nametoindex(interface->name) : link_find(present);
    if (index == 0 && interface->mac[0] != '\0')
        index = link_find(mac);
    if (index == 0)
        return fault(ret_fault, FAULT_NOT_FOUND, "the guest has no interface %s with MAC address \"%s\"",
                     interface->name, interface->find_mac);

    if ((errno = link_set_up(index, false)) != 0)
        return fault_errno(ret_fault, "taking %s down", interface->name);
    if (!link_change_identity(index, interface, mac, ret_fault))
        return false;
    link_disable_dad(interface->name);
    if (interface->fixed_addresses)
        link_disable_autoconf(interface->name);
    if ((errno = link_set_up(index, true)) != 0)
        return fault_errno(ret_fault, "bringing %s up", interface->name);
    for (size_t i = 0; i < interface->n_addresses; i++)
        if (!address_add(index, interface, interface->addresses[i], ret_fault))
            return false;
    return true;
}

static bool address_remove(int index, const Interface *interface, const char *text, Fault *ret_fault)
{
    NetAddress address;
    Message message;
    if (!address_start(&message, RTM_DELADDR, 0, index, interface, text, &address, ret_fault))
        return false;
    errno = message_send(&message);
    return errno == 0 || fault_errno(ret_fault, "removing address %s from %s", text, interface->name);
}

bool net_withdraw_interface(const Interface *interface, Fault *ret_fault)
{
    int index = (int)if_nametoindex(interface->name);
    if (index == 0)
        return fault(ret_fault, FAULT_NOT_FOUND, "the guest has no interface %s", interface->name);
    for (size_t i = 0; i < interface->n_addresses; i++)
        if (!address_remove(index, interface, interface->addresses[i], ret_fault))
            return false;
    errno = link_set_up(index, false);
    return errno == 0 || fault_errno(ret_fault, "taking %s down", interface->name);
}

/* Connections end while the interface is down: the resets that the kernel would send for them have the
 * address of the former pod, which may be in use. */
bool net_clear_interface(const Interface *interface, Fault *ret_fault)
{
    int index = (int)if_nametoindex(interface->name);
    if (index == 0)
        return fault(ret_fault, FAULT_NOT_FOUND, "the guest has no interface %s", interface->name);
    if ((errno = link_set_up(index, false)) != 0)
        return fault_errno(ret_fault, "taking %s down", interface->name);
    return net_end_connections(ret_fault) && net_remove_addresses(index, ret_fault);
}

/* ---- routes ---- */

static void add_metrics(Message *message, uint32_t mtu)
{
    struct {
        struct rtattr attribute;
        uint32_t value;
    } metric = {{.rta_len = RTA_LENGTH(sizeof mtu), .rta_type = RTAX_MTU}, mtu};
    if (mtu != 0)
        message_add(message, RTA_METRICS, &metric, sizeof metric);
}

bool net_add_route(const Route *route, Fault *ret_fault)
{
    NetAddress destination, gateway = {.family = AF_UNSPEC};
    bool by_gateway = route->gateway[0] != '\0';
    int index = (int)if_nametoindex(route->device);

    if (!net_parse_address(route->destination, &destination) ||
        (by_gateway &&
         (!net_parse_address(route->gateway, &gateway) || gateway.family != destination.family)))
        return fault(ret_fault, FAULT_INVALID_ARGUMENT,
                     "route to %s by %s: these are not addresses of one family", route->destination,
                     route->gateway);
    if (index == 0)
        return fault(ret_fault, FAULT_INVALID_ARGUMENT, "route to %s: the guest has no interface %s",
                     route->destination, route->device);
    struct rtmsg fixed = {.rtm_family = (uint8_t)destination.family,
                          .rtm_dst_len = destination.prefix,
                          .rtm_table = RT_TABLE_MAIN,
                          .rtm_protocol = RTPROT_BOOT,
                          .rtm_scope = by_gateway || destination.family == AF_INET6 ? RT_SCOPE_UNIVERSE
                                                                                    : RT_SCOPE_LINK,
                          .rtm_type = RTN_UNICAST};
    Message message;
    message_start(&message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &fixed, sizeof fixed);
    message_add(&message, RTA_DST, destination.bytes, destination.length);
    message_add(&message, RTA_OIF, &index, sizeof index);
    if (by_gateway)
        message_add(&message, RTA_GATEWAY, gateway.bytes, gateway.length);
    if (route->metric != 0)
        message_add(&message, RTA_PRIORITY, &route->metric, sizeof route->metric);
    add_metrics(&message, route->mtu);
    errno = message_send(&message);
    return errno == 0 || errno == EEXIST ||
           fault_errno(ret_fault, "adding the route to %s by %s on %s", route->destination, route->gateway,
                       route->device);
}
