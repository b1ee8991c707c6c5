/* SPDX-License-Identifier: Apache-2.0 */
#include "sandbox/agent/clock_offset.h"

gboolean clock_offset_find(gint64 asked_boot_ns, const NodeTime *answered, const GuestTime *told,
                           GuestTime *ret_right, gint64 *ret_ahead_ns)
{
    gint64 took_ns = answered->boot_ns - asked_boot_ns;
    gint64 right_ns = answered->wall_ns - took_ns / 2;
    gint64 ahead_ns;

    /* With both times positive their difference does not overflow, whatever the guest says. */
    if (took_ns < 0 || right_ns <= 0 || told->wall_ns <= 0 || told->monotonic_ns < 0)
        return FALSE;
    ahead_ns = told->wall_ns - right_ns;
    /* The middle is wrong by half of the time that passed, at most. A guest that is off by more than all of
     * it is closer to the node's time after the correction than before. */
    if (ABS(ahead_ns) <= MAX(took_ns, CLOCK_TOLERANCE_NS))
        return FALSE;
    *ret_right = (GuestTime){.monotonic_ns = told->monotonic_ns, .wall_ns = right_ns};
    *ret_ahead_ns = ahead_ns;
    return TRUE;
}
