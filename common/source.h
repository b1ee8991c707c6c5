/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of GLib's main loop that an object holds in its fields. */
#pragma once

#include <glib.h>

/* Ends it, gives the reference up and clears the field; nothing happens to one that is clear. */
void source_drop(GSource **source);
