/* SPDX-License-Identifier: Apache-2.0 */
/* Finds QEMU's own last message in the log that libvirt keeps of it, and says why a VM ended. Pure; any
 * thread.
 */
#pragma once

#include "sandbox/vmm/vmm.h"

/* log: the end of the log, which may begin within a line. libvirt's own lines (the command line, "starting
 * up", "shutting down") and QEMU's warnings are skipped. Return: the message without its time,
 * "qemu-system-x86_64: cannot set up guest memory…"; NULL when there is none. The caller frees it. */
char *qemu_log_find_message(const char *log);

/* What is left of a VM that has ended. */
typedef struct {
    int signal_number;   /* that killed QEMU; 0: none, or unknown */
    const char *message; /* QEMU's last one; NULL: none */
    const char *panic;   /* of the guest's kernel: see panic.h; NULL: none */
} LastWords;

/* Return: why the VM ended, as the rest of a sentence; the caller frees it. */
char *qemu_log_describe_end(VmmStopReason reason, const LastWords *words);
