/* SPDX-License-Identifier: Apache-2.0 */
/* A pod's wire for tests: a network namespace with eth0, whose other end pv0 is in the test's own namespace,
 * and a tap that the test holds as QEMU would.
 *
 * A test program calls wire_isolate() first. A failure ends the program, also outside of a test. */
#pragma once

#include <glib.h>

enum { WIRE_SKIPPED = 77 };

/* Before each frame that the guest's end of a tap writes or reads. */
enum { WIRE_VNET_HEADER_BYTES = 10 };

#define WIRE_TAP "pt0"

/* Gives the process network and mount namespaces of its own and a directory. Return: 0; WIRE_SKIPPED when it
 * may not, which it prints. */
int wire_isolate(const char *suite);

/* Return: whether the shell command succeeds. */
gboolean wire_run(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Return: the path of a namespace of that name, which the caller frees. */
char *wire_netns_path(const char *name);
const char *wire_directory(void);

/* Makes the namespace and its wire; nothing joins eth0 and the tap yet. Return: the guest's end of the tap.
 */
int wire_make(const char *netns_path);
void wire_remove(const char *netns_path, int guest);
/* Return: a socket for whole frames of that interface. */
int wire_packet_open(const char *ifname);
