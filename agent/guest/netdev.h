/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the counters of the guest's network interfaces from /proc/net/dev, see proc(5). */
#pragma once

#include <stddef.h>

#include "agent/guest/messages.h"

enum { NETDEV_NAME_MAX = 32 };

typedef struct {
    InterfaceUsage usage; /* usage.name points to the array below */
    char name[NETDEV_NAME_MAX];
} InterfaceReading;

/* Reads at most max interfaces, without lo. Tests pass another path. Return: their number. */
size_t netdev_read(const char *path, InterfaceReading *ret_readings, size_t max);
