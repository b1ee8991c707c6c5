/* Interfaces, addresses and routes by rtnetlink (RFC 3549), without a library: the agent is in every guest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

/* lo comes up with the first of these. Each is found by its present MAC address, or by the one that it is to
 * have (a repetition after a failure), taken down, changed, and brought up. Addresses already there are kept.
 */
bool net_configure_interface(const Interface *interface, Fault *ret_fault);
/* Its addresses go, and it goes down, which takes its routes along; name and MAC address stay. */
bool net_withdraw_interface(const Interface *interface, Fault *ret_fault);
bool net_add_route(const Route *route, Fault *ret_fault);
bool net_up_loopback(Fault *ret_fault);

/* "10.1.2.3/24", "fd00::5/64"; without a prefix length, the whole address. */
typedef struct {
    int family;
    uint8_t bytes[16];
    size_t length;
    uint8_t prefix;
} NetAddress;
bool net_parse_address(const char *text, NetAddress *ret_address);
bool net_parse_mac(const char *text, uint8_t ret_mac[6]);
