/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands. A row is a command with its options and its help, and is defined beside the
 * command's code; commands.c lists the rows in the order of `crivirt help`. The help, the manual page and the
 * shells' completions come from it.
 */
#pragma once

#include "cri-server/cli/cli.h"

typedef struct {
    const char *name;
    const char *group;   /* heading in the list of commands; NULL: not listed */
    const char *usage;   /* what follows the name; the first operand says what completion offers: CONTAINER,
                            POD, IMAGE, NAME, COMMAND */
    const char *help;    /* one line */
    const char *details; /* more of it, or NULL */
    const OptionSpec *options; /* NULL: none */
    int min_operands;
    int max_operands;         /* -1: no limit */
    gboolean ends_at_operand; /* the words after the first operand belong to another program */
    gboolean lists;           /* takes --format and --json */
    int error_exit;           /* exit code of a failure; 0: 1 */
    gboolean (*run)(Cli *cli, GError **error);
} Command;

extern const Command command_run;
extern const Command command_create;
extern const Command command_start;
extern const Command command_kill;
extern const Command command_wait;
extern const Command command_top;
extern const Command command_system;
extern const Command command_support;
extern const Command command_shell;
extern const Command command_dmesg;
extern const Command command_pause;
extern const Command command_unpause;
extern const Command command_login;
extern const Command command_logout;
extern const Command command_restart;
extern const Command command_prune;
extern const Command command_ps;
extern const Command command_logs;
extern const Command command_exec;
extern const Command command_attach;
extern const Command command_cp;
extern const Command command_stop;
extern const Command command_rm;
extern const Command command_pods;
extern const Command command_port_forward;
extern const Command command_rmp;
extern const Command command_hibernate;
extern const Command command_wake;
extern const Command command_checkpoint;
extern const Command command_restore;
extern const Command command_trace;
extern const Command command_pull;
extern const Command command_load;
extern const Command command_images;
extern const Command command_rmi;
extern const Command command_inspect;
extern const Command command_stats;
extern const Command command_events;
extern const Command command_gc;
extern const Command command_doctor;
extern const Command command_info;
extern const Command command_version;
extern const Command command_help;
extern const Command command_complete;
extern const Command command_generate;
extern const Command command_reap;
extern const Command command_unpack;

/* NULL-terminated. */
extern const Command *const commands[];
extern const OptionSpec command_global_options[];

/* Return: NULL when no command has that name. */
const Command *command_find(const char *name);
/* The option tables of a command, for options_parse(); NULL-terminated. */
void command_option_tables(const Command *command, const OptionSpec *ret_tables[4]);

/* Return: the help of one command, and the list of all; the caller frees it. */
char *command_help_text(const Command *command);
char *command_list_text(void);
/* Return: "-m, --memory SIZE", indented when there is no letter; the caller frees it. */
char *option_spec_title(const OptionSpec *option);
/* Return: a guest's kernel log as `crivirt dmesg` prints it; the caller frees it. */
char *guest_log_text(const void *data, gsize length);
