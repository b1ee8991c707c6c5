/* SPDX-License-Identifier: Apache-2.0 */
/* Connects a streaming URL with file descriptors until the other side has finished: exec, attach, and what
 * builds on them. */
#pragma once

#include "cri-server/cli/cli.h"
#include "cri-server/cli/stream_client.h"

typedef struct {
    int in_fd; /* -1: no input */
    int out_fd, err_fd;
    gboolean tty;      /* in_fd is a raw terminal: its size is sent, and Ctrl-P Ctrl-Q detaches */
    gboolean detached; /* output: the user detached with those keys */
    /* Called when the connection is open; NULL: nothing to do. */
    gboolean (*connected)(gpointer data, GError **error);
    gpointer data;
} StreamRun;

/* Sets cli->exit_code to the program's exit code. Output is written as it arrives; a reader that is slow
 * delays only this connection. */
gboolean stream_run(Cli *cli, const StreamAddress *address, StreamRun *run, GError **error);

/* Makes an address of a URL that the daemon has returned, which is borrowed. */
gboolean stream_complete_address(Cli *cli, const char *url, StreamAddress *ret_address, GError **error);
/* Get the address from the daemon; its strings live in the arena. */
gboolean stream_exec_address(Cli *cli, const char *container_id, const char *const *words, gboolean input,
                             gboolean tty, StreamAddress *ret_address, GError **error);
gboolean stream_attach_address(Cli *cli, const char *container_id, gboolean input, gboolean tty,
                               StreamAddress *ret_address, GError **error);
gboolean stream_forward_address(Cli *cli, const char *pod_id, guint16 port, StreamAddress *ret_address,
                                GError **error);
