/* SPDX-License-Identifier: Apache-2.0 */
/* The two steps of loading a configuration, between which a reload sets the options that it cannot change:
 * what handlers leave out follows from the general options. Private to this folder. */
#pragma once

#include "cri-server/config/config.h"

/* Reads files and flags. */
Settings *config_read(int argc, char **argv, ConfigAction *ret_action, GError **error);
/* Sets what the handlers leave out, and checks them. */
gboolean config_complete(Settings *settings, GError **error);
