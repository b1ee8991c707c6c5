/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/pod/platforms.h"

#include "sandbox/pod/host_pod.h"
#include "sandbox/pod/vm_pod.h"

const PodPlatform *pod_platform(HandlerKind kind)
{
    return kind == HANDLER_HOST ? &host_pod_platform : &vm_pod_platform;
}
