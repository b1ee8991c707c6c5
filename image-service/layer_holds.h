/* SPDX-License-Identifier: Apache-2.0 */
/* Who needs which layers: owners (a pull, a container) hold layer keys, and a layer is held while any owner
 * holds it. Not thread-safe: the caller's lock is held around each call.
 */
#pragma once

#include <glib.h>

typedef struct LayerHolds LayerHolds;

LayerHolds *layer_holds_new(void);
void layer_holds_free(LayerHolds *holds); /* takes NULL */

/* The layers of an owner add up; holding one twice is holding it once. */
void layer_holds_add(LayerHolds *holds, const char *owner, const char *const *keys);
/* Return: the keys that the owner held, in a new vector. */
char **layer_holds_release(LayerHolds *holds, const char *owner);
gboolean layer_holds_has(const LayerHolds *holds, const char *key);
