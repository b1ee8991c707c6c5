/* SPDX-License-Identifier: Apache-2.0 */
/* Prints a container's log on stdout and stderr. */
#pragma once

#include "cri-server/cli/cli.h"

typedef struct {
    const char *container_id;
    const char *path;
    gboolean follow; /* go on until the container has ended */
    gboolean timestamps;
    gint64 since_ns;
    gint64 tail; /* -1: all */
    /* Called on Ctrl-C while following; it calls interrupt_rearm(). Return: TRUE to go on. NULL: Ctrl-C ends
     * the command. */
    gboolean (*interrupted)(gpointer data, GError **error);
    gpointer data;
} LogOutput;

gboolean log_output(Cli *cli, const LogOutput *output, GError **error);
