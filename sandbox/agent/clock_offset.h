/* SPDX-License-Identifier: Apache-2.0 */
/* Decides whether a guest's clock is off, from one question to the guest and its answer. Only arithmetic: it
 * reads no clock, has no threads and no I/O.
 *
 * The guest has read its clocks at some moment between the question and the answer, so its time is known to
 * half of the time that passed between these. All times are in nanoseconds.
 */
#pragma once

#include <glib.h>

/* Both clocks of the node at one moment. */
typedef struct {
    gint64 boot_ns; /* CLOCK_BOOTTIME, which goes on while the node is suspended and is never set */
    gint64 wall_ns; /* CLOCK_REALTIME */
} NodeTime;

/* Both clocks of the guest at one moment. */
typedef struct {
    gint64 monotonic_ns;
    gint64 wall_ns;
} GuestTime;

/* A guest that differs by less is left alone. */
#define CLOCK_TOLERANCE_NS G_GINT64_CONSTANT(10000000)

/* asked_boot_ns: the node's boot_ns when the question was sent. answered: when the answer came. told: what
 * the guest answered; any number. Return: TRUE when the guest's clock is off by more than the tolerance, and
 * by more than the question and the answer took: *ret_right is what the guest's clocks should have been, and
 * *ret_ahead_ns how much the guest was ahead (negative: behind). A step of the node's clock between question
 * and answer makes no difference. */
gboolean clock_offset_find(gint64 asked_boot_ns, const NodeTime *answered, const GuestTime *told,
                           GuestTime *ret_right, gint64 *ret_ahead_ns);
