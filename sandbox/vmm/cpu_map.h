/* SPDX-License-Identifier: Apache-2.0 */
/* Makes libvirt read its models of CPUs from the bundle (common/bundle.h).
 *
 * libvirt reads them once in a process, from /usr/share/libvirt, a path that no setting changes. A node that
 * has only a bundle has no such directory, and another node has that of its own libvirt. So the models are
 * read by a thread whose root directory is the bundle.
 *
 * cpu_map_load() is called before libvirt's QEMU driver is opened; it does nothing without a bundle. Errors:
 * INTERNAL. Threads: one caller.
 */
#pragma once

#include <glib.h>

gboolean cpu_map_load(GError **error);
