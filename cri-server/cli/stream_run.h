/* Joins a streaming URL to descriptors of ours until the other side is through: exec, attach, and what is
 * built on them. */
#pragma once

#include "cri-server/cli/cli.h"
#include "cri-server/cli/stream_client.h"

typedef struct {
    int in_fd; /* -1: no input */
    int out_fd, err_fd;
    gboolean tty;      /* in_fd is a raw terminal: its size is told, Ctrl-P Ctrl-Q detaches */
    gboolean detached; /* out: by those keys */
    /* NULL, or what to do once connected. */
    gboolean (*connected)(gpointer data, GError **error);
    gpointer data;
} StreamRun;

/* cli->exit_code is the program's. Output is written as it comes; who does not read it stops only this. */
gboolean stream_run(Cli *cli, const StreamAddress *address, StreamRun *run, GError **error);

/* From the daemon; what they hold lives in the arena. */
gboolean stream_exec_address(Cli *cli, const char *container_id, const char *const *words, gboolean input,
                             gboolean tty, StreamAddress *ret_address, GError **error);
gboolean stream_attach_address(Cli *cli, const char *container_id, gboolean input, gboolean tty,
                               StreamAddress *ret_address, GError **error);
gboolean stream_forward_address(Cli *cli, const char *pod_id, guint16 port, StreamAddress *ret_address,
                                GError **error);
