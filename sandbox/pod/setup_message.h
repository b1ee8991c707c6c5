/* SPDX-License-Identifier: Apache-2.0 */
/* The Setup request, which gives an agent its pod. One function builds it for VM pods and for host pods.
 *
 * The agent of a VM pod also gets what the node has for a host pod already: the network's interface and
 * routes, the writable disk, the time of day and random bytes. Apart from these last two the request follows
 * from the content alone.
 *
 * Threads: any.
 */
#pragma once

#include "api.pb-c.h"
#include "cni-bridge/cni.h"
#include "common/arena.h"
#include "sandbox/agent/agent_calls.h"

typedef struct {
    const char *sandbox_id;
    const Runtime__V1__PodSandboxConfig *config; /* its sysctls, and whether it has a user namespace */
    const char *const *sysctls; /* of the handler, "NAME=VALUE", NULL-terminated; NULL: none. Those of config
                                   override them */
    const char *hostname;
    const char *resolv_conf;        /* the file's text */
    const char *hosts;              /* the file's text */
    const CniResult *guest_network; /* what CNI gave to a VM pod; NULL: a host pod */
    gboolean fixed_addresses;       /* the guest's interface has no addresses but CNI's */
    gboolean restored;              /* the guest had another pod, and its interface has the name already */
} SetupContent;

/* Return: the request, which belongs to the arena and borrows nothing from the content. */
AgentSetupRequest *setup_message_build(const SetupContent *content, Arena *arena);
