/* SPDX-License-Identifier: Apache-2.0 */
/* Configures interfaces, addresses and routes by rtnetlink (RFC 3549). It uses no library, to keep the agent
 * small.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/fault.h"
#include "agent/guest/messages.h"

/* Finds the interface by find_mac (empty: by name), or by the MAC address that it gets (when this is repeated
 * after a failure); takes it down, changes it and brings it up. Addresses that it already has are kept.
 */
bool net_configure_interface(const Interface *interface, Fault *ret_fault);
/* Removes the addresses that the message names and takes the interface down, which removes its routes. Name
 * and MAC address stay. */
bool net_withdraw_interface(const Interface *interface, Fault *ret_fault);
/* Takes the interface of that name down, ends the connections of the guest's processes, and removes all its
 * addresses, so that it can be configured for another pod. */
bool net_clear_interface(const Interface *interface, Fault *ret_fault);
bool net_add_route(const Route *route, Fault *ret_fault);
bool net_up_loopback(Fault *ret_fault);

/* An address: "10.1.2.3/24", "fd00::5/64". Without a prefix length, the prefix is the whole address. */
typedef struct {
    int family;
    uint8_t bytes[16];
    size_t length;
    uint8_t prefix;
} NetAddress;
bool net_parse_address(const char *text, NetAddress *ret_address);
bool net_parse_mac(const char *text, uint8_t ret_mac[6]);
