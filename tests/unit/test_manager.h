/* SPDX-License-Identifier: Apache-2.0 */
/* A SandboxManager with pods and containers but without a hypervisor and a store: for tests of code that
 * only reads them. */
#include "sandbox/pods/container.h"
#include "sandbox/pods/pod.h"

#pragma once

SandboxManager *test_manager_new(void);
void test_manager_free(SandboxManager *manager);

/* A pod "pod-N" with one label, and a container "ctr" in it, in these states. Borrowed. */
Pod *test_manager_add_pod(SandboxManager *manager, guint number, PodState state, ContainerState container);
Container *test_pod_container(Pod *pod);

/* Gives the pod a sample of its container and eth0, as an agent reports it, which was taken at_us (monotonic)
 * and becomes the pod's last sample. */
void test_pod_add_sample(Pod *pod, gint64 at_us, guint64 cpu_us);
