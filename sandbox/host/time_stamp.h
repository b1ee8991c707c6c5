/* How fast the node's counter of time stamps (TSC) runs.
 *
 * QEMU without KVM shows a guest this counter. A guest that finds out its rate by itself times it against
 * another emulated clock, and on a busy node may be wrong by any factor, for the rest of its life and that of
 * all guests that are restored from it: its clock then runs many times too fast. So it is told.
 */
#pragma once

#include <glib.h>

/* In kHz, to some parts in a million; 0: this node's processors have none. Measured by the first call, which
 * takes a tenth of a second. Any thread. */
guint time_stamp_khz(void);
