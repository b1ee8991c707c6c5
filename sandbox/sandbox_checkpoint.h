/* SPDX-License-Identifier: Apache-2.0 */
/* What a daemon that died in a CheckpointPod leaves behind, and how the next one undoes it
 * (sandbox_checkpoint.c). */
#pragma once

#include "common/settings/settings.h"
#include "sandbox/checkpoint/checkpoint.h"
#include "sandbox/pods/pod.h"

/* Removes the files of checkpoints that were not finished, and lets their guests run again. domains:
 * VmmDomain, which are marked as running. Called at the daemon's start, before pods are resumed; their agents
 * are thawed when they report that they are frozen. */
void sandbox_checkpoint_recover(SandboxManager *manager, const GPtrArray *domains);

/* Return: how checkpoints are written and read by the section [checkpoint], which it borrows from. */
CheckpointStorage sandbox_checkpoint_storage(const Settings *settings);

/* Return: the directory in which checkpoints are packed and unpacked, which need not exist; the caller frees
 * it. */
char *sandbox_checkpoint_scratch(const SandboxManager *manager);
