/* SPDX-License-Identifier: Apache-2.0 */
/* A VM pod's share: the directory of volumes that its guest sees through virtiofs. */
#pragma once

#include "sandbox/pods/pod.h"

#define POD_SHARE_TAG "crivirt"

/* Makes the share and mounts it in the guest, unless there is one whose file server lives. */
gboolean vm_pod_attach_share(Pod *pod, const Deadline *deadline, GError **error);
/* Marks the pod's containers when the file server dies, or has died already. */
void pod_share_watch(Pod *pod);
