/* SPDX-License-Identifier: Apache-2.0 */
/* Signal names of images ("SIGTERM", "term", "9", "SIGRTMIN+3") and of the CRI (SIGRTMINPLUS3) as Linux
 * numbers. */
#pragma once

#include <glib.h>

#include "api.pb-c.h"

/* FALSE for what is no signal. */
gboolean signal_from_name(const char *name, int *ret_signal);

/* 0 for RUNTIME_DEFAULT and for values that the CRI does not define. */
int signal_from_cri(Runtime__V1__Signal signal);
/* RUNTIME_DEFAULT when the CRI has no name for it. */
Runtime__V1__Signal signal_to_cri(int signal);
