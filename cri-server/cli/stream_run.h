/* Joins a streaming URL to descriptors of ours until the other side is through: exec, attach, and what is
 * built on them. */
#pragma once

#include "cri-server/cli/cli.h"

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
gboolean stream_run(Cli *cli, const char *url, StreamRun *run, GError **error);

/* URLs from the daemon; borrowed from the arena. */
const char *stream_exec_url(Cli *cli, const char *container_id, const char *const *words, gboolean input,
                            gboolean tty, GError **error);
const char *stream_attach_url(Cli *cli, const char *container_id, gboolean input, gboolean tty,
                              GError **error);
