/* SPDX-License-Identifier: Apache-2.0 */
/* Sources of GLib's main loop that an object has in its fields. */
#pragma once

#include <glib.h>

/* Destroys the source, drops the reference and clears the field; does nothing when the field is clear. */
void source_drop(GSource **source);
