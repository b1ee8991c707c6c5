/* SPDX-License-Identifier: Apache-2.0 */
/* IP and hardware addresses as CNI plugins write them.
 *
 * Outputs are new strings in canonical form that the caller frees. Errors are INVALID_ARGUMENT and quote at
 * most 64 characters of the text. All functions are pure.
 */
#pragma once

#include <glib.h>

gboolean cni_ip_read(const char *text, char **ret_address, gboolean *ret_ipv6, GError **error);
/* An address with a prefix length; the bits of the host stay: "10.1.2.3/24". */
gboolean cni_cidr_read(const char *text, char **ret_cidr, gboolean *ret_ipv6, GError **error);

/* Return: whether it can be a hardware address of any kind of interface (at most 64 characters). */
gboolean cni_mac_is_valid(const char *mac);
/* Return: whether it is six bytes in hexadecimal, separated by colons. */
gboolean cni_mac_is_ethernet(const char *mac);
