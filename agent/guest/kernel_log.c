/* SPDX-License-Identifier: Apache-2.0 */
/* KernelLog: the newest part of the guest kernel's log. */
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>

#include "agent/guest/call.h"
#include "agent/guest/node.h"

enum {
    SYSLOG_READ_ALL = 3, /* syslog(2): leaves the log as it is */
    TEXT_MAX = 256 << 10,
};

static uint8_t text[TEXT_MAX];

void op_kernel_log(Call *call)
{
    const uint32_t wanted = call->request->kernel_log->max_bytes;
    KernelLogResponse result = CRIVIRT__AGENT__V1__KERNEL_LOG_RESPONSE__INIT;
    int length = -1;
    Fault error;

    if (node_is_entered())
        fault(&error, FAULT_FAILED_PRECONDITION, "a host pod has no kernel of its own: see the node's log");
    else if ((length = klogctl(SYSLOG_READ_ALL, (char *)text, (int)(wanted < TEXT_MAX ? wanted : TEXT_MAX))) <
             0)
        fault_errno(&error, "reading the kernel's log");
    if (length < 0) {
        call_fail(call, &error);
        return;
    }
    result.text = (ProtobufCBinaryData){.len = (size_t)length, .data = text};
    reply_kernel_log(call, &result);
}
