/* SPDX-License-Identifier: Apache-2.0 */
/* The owner tag: taps and cgroups, which are in no directory of a daemon's own, carry the tag of the daemon
 * that made them. The tag is random, made once for each state directory and kept in it. So no two daemons
 * have the same tag, and a daemon that has lost its records still finds what it has made. Threads: any.
 */
#pragma once

#include <glib.h>

/* Reads the tag, or makes it. Return: "crivirt-" and 16 hexadecimal digits, the caller's. Errors: INTERNAL
 * when the file has another content. */
char *owner_tag_get(const char *state_dir, GError **error);
