/* The counters of the guest's network interfaces: /proc/net/dev, see proc(5). */
#pragma once

#include <stddef.h>

#include "agent/guest/messages.h"

enum { NETDEV_NAME_MAX = 32 };

typedef struct {
    InterfaceUsage usage; /* its name is the array beside it */
    char name[NETDEV_NAME_MAX];
} InterfaceReading;

/* All but lo, at most max of them; how many. path is for tests. */
size_t netdev_read(const char *path, InterfaceReading *ret_readings, size_t max);
