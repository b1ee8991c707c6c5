/* SPDX-License-Identifier: Apache-2.0 */
/* Pausing a container, for the files of this folder. Threads: any. */
#pragma once

#include "common/deadline.h"
#include "sandbox/pods/container.h"

/* Return: whether it runs and is paused. */
gboolean container_is_paused(Container *container);
/* Lets a paused container go on, so that it can act on a signal; does nothing for another one. */
gboolean container_resume(Container *container, const Deadline *deadline, GError **error);
