/* SPDX-License-Identifier: Apache-2.0 */
/* Converts signal names of images ("SIGTERM", "term", "9", "SIGRTMIN+3") and signals of the CRI
 * (SIGRTMINPLUS3) to Linux's numbers. Pure. */
#pragma once

#include <glib.h>

#include "api.pb-c.h"

/* Return: FALSE when there is no such signal. */
gboolean signal_from_name(const char *name, int *ret_signal);

/* Return: 0 for RUNTIME_DEFAULT, and for values that the CRI does not define. */
int signal_from_cri(Runtime__V1__Signal signal);
/* Return: RUNTIME_DEFAULT when the CRI has no value for the signal. */
Runtime__V1__Signal signal_to_cri(int signal);
