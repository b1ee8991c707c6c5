/* SPDX-License-Identifier: Apache-2.0 */
/* Takes the network of a former pod away: addresses (rtnetlink, RFC 3549) and connections (sock_diag(7)). */
#pragma once

#include <stdbool.h>

#include "agent/guest/fault.h"

/* Removes all addresses of the interface with that index. */
bool net_remove_addresses(int index, Fault *ret_fault);
/* Ends the connections of all processes that are not within the guest: their next read or write fails with
 * ECONNABORTED. Sockets that listen stay. A kernel without SOCK_DESTROY ends none, which is no failure: the
 * connections then end when TCP gives up. */
bool net_end_connections(Fault *ret_fault);
