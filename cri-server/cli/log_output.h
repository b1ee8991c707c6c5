/* Shows a container's log on our own stdout and stderr. */
#pragma once

#include "cri-server/cli/cli.h"

typedef struct {
    const char *container_id;
    const char *path;
    gboolean follow; /* until the container has ended */
    gboolean timestamps;
    gint64 since_ns;
    gint64 tail; /* -1: all */
    /* What Ctrl-C means while following: rearms the interrupt, and TRUE goes on. NULL: it ends the command.
     */
    gboolean (*interrupted)(gpointer data, GError **error);
    gpointer data;
} LogOutput;

gboolean log_output(Cli *cli, const LogOutput *output, GError **error);
