/* SPDX-License-Identifier: Apache-2.0 */
/* Measures the rate of the node's time stamp counter (TSC).
 *
 * QEMU without KVM shows this counter to the guest. A guest that measures the rate itself compares the
 * counter with another emulated clock. On a busy node the result can be wrong by any factor, and then the
 * guest's clock, and that of all its clones, runs many times too fast. So the guest gets the rate on its
 * kernel's command line.
 */
#pragma once

#include <glib.h>

/* Return: the rate in kHz, exact to some parts in a million; 0: the node's CPUs have no such counter. The
 * first call measures for a tenth of a second. Threads: any. */
guint time_stamp_khz(void);

/* ---- saved guests ---- */

/* The name under which the rate of a guest's counter is in the inputs of its saved state. */
#define TIME_STAMP_INPUT "time_stamp"

/* Return: "RATE kHz"; scales: and that a guest can have any other rate. The caller frees it. */
char *time_stamp_text(guint khz, gboolean scales);
/* Return: the rate in such a text; 0: there is none. */
guint time_stamp_parse(const char *text);
/* Return: whether a guest with the first rate can go on where guests have the second: when the node scales,
 * or within what clocks are corrected by. */
gboolean time_stamp_fits(const char *saved, const char *here);
