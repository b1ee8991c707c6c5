/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/guest/netdev.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Reads "  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …" */
static bool parse_line(const char *line, InterfaceReading *reading)
{
    InterfaceUsage *usage = &reading->usage;

    crivirt__agent__v1__interface_usage__init(usage);
    usage->name = reading->name;
    return sscanf(line, /* NOLINT: the kernel's numbers */
                  " %31[^: ]: %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %*u %*u %" SCNu64
                  " %" SCNu64 " %" SCNu64 " %" SCNu64,
                  reading->name, &usage->rx_bytes, &usage->rx_packets, &usage->rx_errors, &usage->rx_dropped,
                  &usage->tx_bytes, &usage->tx_packets, &usage->tx_errors, &usage->tx_dropped) == 9;
}

size_t netdev_read(const char *path, InterfaceReading *ret_readings, size_t max)
{
    char line[512];
    size_t n = 0;
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return 0;
    while (n < max && fgets(line, sizeof line, file) != NULL)
        if (parse_line(line, &ret_readings[n]) && strcmp(ret_readings[n].name, "lo") != 0)
            n++;
    fclose(file);
    return n;
}
