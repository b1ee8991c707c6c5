/* SPDX-License-Identifier: Apache-2.0 */
/* One call of one plugin: its environment, its input and its output
 * (https://github.com/containernetworking/cni/blob/spec-v1.1.0/SPEC.md#section-2-execution-protocol).
 *
 * Errors: UNAVAILABLE when the plugin reports "try again later" or "not available", or is not installed;
 * DEADLINE_EXCEEDED and CANCELLED as process_run(); INTERNAL otherwise, with the plugin's message. Messages
 * name network, plugin and command. Threads: a call blocks its thread; calls share nothing.
 */
#pragma once

#include "cni-bridge/cni.h"
#include "cni-bridge/cni_config.h"
#include "common/process.h"

/* Everything is borrowed for the call. */
typedef struct {
    const char *command; /* "ADD", "DEL", "CHECK", "STATUS", "GC" */
    const CniConfig *config;
    const CniPlugin *plugin;
    const char *const *plugin_dirs;
    const CniAttachment *attachment;      /* NULL for STATUS and GC */
    const char *previous;                 /* prevResult as JSON; NULL: none */
    const char *const *valid_attachments; /* GC: container ids; NULL: not sent */
    const char *valid_ifname;
} CniCall;

/* *ret_output (may be NULL): stdout, not yet checked. */
gboolean cni_exec(const CniCall *call, const Deadline *deadline, char **ret_output, gsize *ret_length,
                  GError **error);

/* cni_end_orphans() */
void cni_exec_end_orphans(const char *container_id);

/* INVALID_ARGUMENT when ids, names or args cannot be passed to a plugin as they are. */
gboolean cni_exec_check_attachment(const CniAttachment *attachment, GError **error);

/* The plugin's executable; UNAVAILABLE when no directory has it. */
char *cni_exec_find(const CniCall *call, GError **error);

/* Parts of cni_exec(), apart so that tests and the fuzzer reach them. */
char *cni_exec_input(const CniCall *call, GError **error);
/* What a plugin that failed printed, as one error on one line. */
void cni_exec_set_failure(const CniCall *call, const ProcessResult *result, GError **error);
